"""Finding Blender, and rendering scenes of CLEVR with it in a separate process."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager, ExitStack, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from emorl.data.generate.clevr_labels import View
from emorl.data.generate.clevr_scene import FOCAL_LENGTH, IMAGE_SIZE, TARGET, Scene
from emorl.data.images import read_image
from emorl.errors import DataError, reason

SCENES_PER_PROCESS = 200  # Blender's memory grows with every scene
"""Scenes that a Blender process renders before it is replaced."""

MIN_SIZE = 4
"""Side of the smallest image that Blender renders, in pixels."""

_SCRIPT = Path(__file__).with_name("clevr_blender.py")
_OLDEST = (4, 0)
_PATIENCE = 120  # seconds until a Blender has started
_SENSOR = 32.0  # mm
_VERSION = "emorl renders with Blender "  # beginning of the script's first line
_REMEDY = (
    "run `make blender` in a checkout of emorl, which makes .blender/bin/python here, or install Blender 4.5 "
    "(https://www.blender.org), and name either with --blender PATH if it is not found automatically"
)
_SPACE = (
    "free space in the folder for temporary files, or name another one with the variable TMPDIR, and run the same "
    "command again: finished shards are kept"
)


class Blender(NamedTuple):
    """A working Blender installation.

    Attributes:
        command: command that runs the script `clevr_blender.py`, without the script's arguments.
        version: such as `4.5.15 LTS`.

    >>> Blender(("python", "clevr_blender.py"), "4.5.15 LTS").version
    '4.5.15 LTS'
    """

    command: tuple[str, ...]
    version: str


def find_blender(path: str | None = None) -> Blender:
    """Return a Blender installation that can run the rendering script.

    Args:
        path: a program `blender`, or a Python with bpy. By default the first that exists of `.blender/bin/python`,
            which `make blender` creates, this Python, if it has bpy, and the program `blender`.

    Raises:
        DataError: if there is none, or if it does not work or is too old.

    >>> find_blender("/no/such/blender")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    emorl.errors.DataError: /no/such/blender: expected Blender 4.5, or a Python with bpy, to render CLEVR, got none; ...
    """
    program = _default() if path is None else shutil.which(path)
    expected = "Blender 4.5, or a Python with bpy, to render CLEVR"
    if program is None:
        found = "what is no executable file" if path and Path(path).exists() else "none"
        raise DataError.of(path or "Blender", expected=expected, got=found, remedy=_REMEDY)
    command: tuple[str, ...] = (program, str(_SCRIPT))
    if "python" not in Path(program).name:
        options = ("--background", "--factory-startup", "--python-exit-code", "1", "--python")
        command = (program, *options, str(_SCRIPT), "--")
    try:
        answer = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_PATIENCE,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        silent = f"a program that says nothing within {_PATIENCE} seconds"
        got = error.strerror if isinstance(error, OSError) else silent
        raise DataError.of(program, expected=expected, got=f"{got}", remedy=_REMEDY) from error
    version = _version(answer.stdout) if answer.returncode == 0 else None
    if version is None:
        got = f"`{_last_line(answer.stderr)}`"
        raise DataError.of(program, expected=expected, got=got, remedy=_REMEDY)
    if tuple(int(number) for number in version.split()[0].split(".")[:2]) < _OLDEST:
        raise DataError.of(program, expected=expected, got=f"Blender {version}", remedy=_REMEDY)
    return Blender(command, version)


class Painter(AbstractContextManager["Painter"]):
    """A context manager that renders scenes in a Blender process, which ends with the context.

    Args:
        blender: the installation to run.

    >>> with Painter(Blender(("blender",), "4.5.0")) as paint:  # the process starts with the first scene
    ...     callable(paint)
    True
    """

    def __init__(self, blender: Blender) -> None:
        self._blender = blender
        self._painted = 0
        self._stack = ExitStack()
        self._process: _Process

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __call__(self, scene: Scene, view: View) -> UInt8[np.ndarray, "height width 3"]:
        """Render a scene.

        Raises:
            DataError: if Blender fails.
        """
        if self._painted % SCENES_PER_PROCESS == 0:
            self._stack.close()
            self._process = self._stack.enter_context(_Process(self._blender))
        self._painted += 1
        return self._process.paint({"name": f"{self._painted}", **description(scene, view)})


class _Process(AbstractContextManager["_Process"]):
    """A process of the rendering script: it reads a scene per line and prints its name when it is rendered."""

    def __init__(self, blender: Blender) -> None:
        self._program, *_ = blender.command
        try:
            with ExitStack() as stack:
                self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emorl-clevr-")))
                self._log = self._folder / "log.txt"
                log = stack.enter_context(self._log.open("w"))
                self._popen = subprocess.Popen(
                    [*blender.command, str(self._folder)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    errors="replace",
                    start_new_session=True,  # Ctrl-C must reach this process only; Blender ends with its stdin
                )
                self._stack = stack.pop_all()
        except OSError as error:
            expected = "a process with a folder for temporary files"
            raise DataError.of(self._program, expected=expected, got=reason(error), remedy=_SPACE) from error

    def __exit__(self, *_: object) -> None:
        """Close the process's stdin, and wait until it ends."""
        with self._stack, suppress(BrokenPipeError):
            self._popen.communicate()

    def paint(self, scene: dict[str, object]) -> UInt8[np.ndarray, "height width 3"]:
        """Send a scene, wait until it is rendered and return its image.

        Raises:
            DataError: if the process ends first, or does not write a whole image.
        """
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        with suppress(BrokenPipeError):  # the process has ended, which its missing answer reports
            self._popen.stdin.write(f"{json.dumps(scene)}\n")
            self._popen.stdin.flush()
        if not any(answer.strip() == scene["name"] for answer in self._popen.stdout):
            got = f"one that ended with `{_last_line(self._log.read_text(errors='replace'))}`"
            remedy = "run the same command again, with fewer processes if memory is short: finished shards are kept"
            raise DataError.of(self._program, expected="a process that renders to the end", got=got, remedy=remedy)
        path = self._folder / f"{scene['name']}.png"
        try:
            image = read_image(path)
        except DataError as error:
            got = "a part of one" if path.exists() else "none"
            raise DataError.of(self._program, expected=f"an image as {path}", got=got, remedy=_SPACE) from error
        path.unlink()
        return image


def description(scene: Scene, view: View) -> dict[str, object]:
    """Return a scene as the script reads it, without its name.

    >>> from emorl.data.generate.clevr_labels import FRAME
    >>> from emorl.data.generate.clevr_scene import draw_objects, draw_setting
    >>> stream = np.random.Philox(0)
    >>> setting = draw_setting(stream, range(3, 4))
    >>> sorted(description(Scene(setting, draw_objects(stream, setting)), FRAME))
    ['camera', 'lamps', 'objects', 'size', 'view']
    """
    height, width = IMAGE_SIZE
    rows, columns = (pixels * view.step for pixels in view.size)
    left, upper = view.left / width, view.upper / height
    camera = scene.setting.camera
    lens = FOCAL_LENGTH * _SENSOR / width
    return {
        "size": view.size,
        "view": (left, upper, left + columns / width, upper + rows / height),
        "camera": {"position": camera.position, "target": TARGET, "lens": lens, "sensor": _SENSOR},
        "lamps": dict(scene.setting.lamps),
        "objects": [
            {
                **{name: factors[name] for name in ("shape", "material", "color", "rotation")},
                "position": [factors[name] for name in ("x", "y", "z")],
                "half_height": factors["z"],
            }
            for factors in scene.objects
        ],
    }


def _default() -> str | None:
    made = Path(".blender", "bin", "python")
    if made.exists():
        return str(made)
    return sys.executable if find_spec("bpy") else shutil.which("blender")


def _version(answer: str) -> str | None:
    """Return the version that the script printed, ignoring other output of the program `blender`."""
    versions = [line.removeprefix(_VERSION) for line in answer.splitlines() if line.startswith(_VERSION)]
    return versions[-1] if versions and re.match(r"\d+\.\d+", versions[-1]) else None


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "nothing on stderr"
