"""Rendering of CLEVR with a substitute for Blender that returns noise."""

import json
import os
import signal
import sys
import tempfile
from collections import Counter
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from stored import records_of
from tfrecord_writer import array_features, example, frame

from emorl.data.cli import main
from emorl.data.datamodule import MultiObjectDataModule
from emorl.data.generate import clevr_render
from emorl.data.generate.clevr import Clevr
from emorl.data.generate.clevr_labels import FRAME, crop, label_map
from emorl.data.generate.clevr_render import Blender, Painter, description, find_blender
from emorl.data.generate.clevr_scene import CLASSES
from emorl.data.shards.manifest import Manifest
from emorl.data.shards.samples import verify
from emorl.errors import DataError

SIX = {"train": range(3, 7)}


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def program(tmp_path, log):
    return program_of(tmp_path, f'exec {sys.executable} {Path(__file__).with_name("fake_blender.py")} {log} "$@"')


def program_of(folder, line):
    path = folder / "python-with-bpy"
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return str(path)


def generate(out, program, *options, train=5, val=0, test=3):
    sizes = ("--train", str(train), "--val", str(val), "--test", str(test), "--shard_size", "2")
    return main(["generate", "clevr", str(out), *sizes, "--blender", program, "--size", "48", *options])


def error_of(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("emorl-data: error: ")
    return line


def counted(log):
    return Counter(log.read_text().split())


def test_scenes_are_those_of_the_source(tmp_path, program):
    out = tmp_path / "out"
    assert not generate(out, program, "--seed", "3", "--processes", "1")
    assert verify(out) == []
    objects = {"train": range(3, 7), "val": range(3, 7), "test": range(3, 7)}
    for split, size in (("train", 5), ("test", 3)):
        source = Clevr(size, Blender((), ""), 3, split, objects, 48)
        for index, record in enumerate(records_of(out, split)):
            scene = source.layout(index)
            assert record.factors == scene.objects
            np.testing.assert_array_equal(record.segmentation, label_map(scene, crop(48)))


@pytest.mark.slow
def test_any_number_of_processes_and_sizes_of_shards_give_the_same_scenes(tmp_path, program):
    generate(tmp_path / "one", program, "--processes", "1")
    generate(tmp_path / "three", program, "--processes", "3")
    assert Manifest.load(tmp_path / "one") == Manifest.load(tmp_path / "three")


def test_a_new_process_takes_over_after_some_scenes(tmp_path, program, log, monkeypatch):
    monkeypatch.setattr(clevr_render, "SCENES_PER_PROCESS", 2)
    generate(tmp_path / "out", program, "--processes", "1", train=5, test=0)
    assert counted(log) == {"start": 3, "scene": 5}


@pytest.mark.parametrize("processes", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_an_interrupted_command_resumes(tmp_path, program, log, capsys, processes):
    generate(tmp_path / "whole", program, "--processes", "1")
    log.write_text("")
    fails = log.with_name("fails")
    fails.write_text("3" if processes == "1" else "1")
    assert generate(tmp_path / "out", program, "--processes", processes) == 2
    fails.unlink()
    line = error_of(capsys)
    assert "one that ended with `Error: out of memory`; run the same command again" in line
    assert not (tmp_path / "out" / "manifest.json").exists()
    kept = len(list((tmp_path / "out").glob("*.tar")))
    log.write_text("")
    assert not generate(tmp_path / "out", program, "--processes", processes)
    assert Manifest.load(tmp_path / "out") == Manifest.load(tmp_path / "whole")
    if processes == "1":  # a shard of another process may be finished, but not yet recorded
        assert (kept, counted(log)["scene"]) == (1, 6)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("echo 'ImportError: libXi.so.6: no such file' >&2; exit 1", "got `ImportError: libXi.so.6: no such file`"),
        ("exit 0", "got `nothing on stderr`"),
        ("echo emorl renders with Blender 2.79", "got Blender 2.79"),
        ("echo emorl renders with Blender abc", "got `nothing on stderr`"),
        ("exec sleep 60", "got a program that says nothing within 0.2 seconds"),
        ("echo emorl renders with Blender 4.5.0; exit 1", "got `nothing on stderr`"),
        (r"printf 'caf\351' >&2; exit 1", "got `caf\N{REPLACEMENT CHARACTER}`"),
    ],
)
def test_a_blender_that_does_not_work_is_one_error_with_the_remedy(tmp_path, capsys, monkeypatch, line, message):
    monkeypatch.setattr(clevr_render, "_PATIENCE", 0.2 if "sleep" in line else 60)
    assert generate(tmp_path / "out", program_of(tmp_path, line)) == 2
    error = error_of(capsys)
    assert message in error
    assert "make blender" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", ["3", "4097"])
def test_images_that_blender_cannot_render_or_emorl_cannot_read_are_refused(tmp_path, program, capsys, size):
    assert generate(tmp_path / "out", program, "--size", size) == 2
    assert f"--size: expected 4 to 4096, got {size}; choose another size" in error_of(capsys)
    assert not (tmp_path / "out").exists()


RENDERS = "if [ $# = 1 ]; then echo emorl renders with Blender 4.5.0; else read scene; {render} echo 1; cat; fi"


@pytest.mark.parametrize(("render", "got"), [("", "none"), ("printf '\\211PNG' > $2/1.png;", "a part of one")])
def test_an_image_that_is_missing_or_not_whole_is_one_error_about_temporary_files(tmp_path, capsys, render, got):
    """As on a full disk."""
    assert generate(tmp_path / "out", program_of(tmp_path, RENDERS.format(render=render)), "--processes", "1") == 2
    line = error_of(capsys)
    assert f"python-with-bpy: expected an image as {tempfile.gettempdir()}/" in line
    assert f"/1.png, got {got}; free space in the folder for temporary files, or name another one with" in line


def test_a_folder_for_temporary_files_that_cannot_be_made_is_one_error(tmp_path, program, capsys, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert generate(tmp_path / "out", program, "--processes", "1") == 2
    line = error_of(capsys)
    assert "python-with-bpy: expected a process with a folder for temporary files, got No such file or dir" in line


def test_sigterm_is_an_interruption_also_while_blender_is_looked_for(tmp_path, capsys, monkeypatch):
    def find(_):
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        raise KeyboardInterrupt

    monkeypatch.setattr("emorl.data.commands.generate.find_blender", find)
    assert generate(tmp_path / "out", "blender") == 130
    assert capsys.readouterr().err == "emorl-data: interrupted: run the same command again\n"


def test_no_blender_is_one_error_with_the_remedy(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(clevr_render, "find_spec", {}.get)
    for options in ((), ("--blender", str(tmp_path / "nowhere"))):
        assert main(["generate", "clevr", "out", *options]) == 2
        error = error_of(capsys)
        assert "expected Blender 4.5, or a Python with bpy, to render CLEVR, got none; run `make blender`" in error
    assert main(["generate", "clevr", "out", "--blender", str(tmp_path)]) == 2
    assert "to render CLEVR, got what is no executable file; run `make blender`" in error_of(capsys)
    assert not (tmp_path / "out").exists()


def test_blender_is_found_automatically(tmp_path, program, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clevr_render, "find_spec", {}.get)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "bin" / "blender").symlink_to(program_of(tmp_path / "bin", "echo emorl renders with Blender 5.0.1"))
    found = find_blender()
    assert found.version == "5.0.1"
    assert found.command[0] == str(tmp_path / "bin" / "blender")
    assert found.command[-1] == "--"
    (tmp_path / ".blender" / "bin").mkdir(parents=True)
    (tmp_path / ".blender" / "bin" / "python").symlink_to(program)
    assert find_blender().version == "4.5.9 LTS"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--min_objects", "8"), "min_objects <= max_objects <= 10, got 8 and 6"),
        (("--max_objects", "11"), "min_objects <= max_objects <= 10, got 3 and 11"),
    ],
)
def test_impossible_numbers_of_objects_are_refused(tmp_path, program, capsys, options, message):
    assert generate(tmp_path / "out", program, *options) == 2
    assert message in error_of(capsys)


def test_presets_choose_the_numbers_of_objects(tmp_path, program):
    generate(tmp_path / "ten", program, "--preset", "clevr10", "--processes", "1", train=0, val=1, test=6)
    assert min(len(record.factors) for record in records_of(tmp_path / "ten", "test")) >= 7
    assert Manifest.load(tmp_path / "ten").max_objects == 10
    generate(tmp_path / "seven", program, "--min_objects", "7", "--max_objects", "7", train=0, test=2)
    assert [len(record.factors) for record in records_of(tmp_path / "seven", "test")] == [7, 7]
    assert generate(tmp_path / "seven", program, train=0, test=2) == 2  # another data set


def test_a_model_with_the_crop_does_not_crop_cropped_images_again(tmp_path, program):
    out = tmp_path / "out"
    generate(out, program, "--processes", "1", train=0, test=2)
    assert Manifest.load(out).source["crop"] == "emorl"
    for name in ("emorl", "square"):
        data = MultiObjectDataModule(str(out), image_size=48, crop=name, num_workers=0)
        data.setup("test")
        (batch,) = data.test_dataloader()
        expected = np.stack([record.image for record in records_of(out, "test")]).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(batch["image"].numpy()[:2], expected)
    data = MultiObjectDataModule(str(out), image_size=48, crop="center", num_workers=0)
    with pytest.raises(DataError, match="expected the crop 'emorl', which its images already show, got 'center'"):
        data.setup("test")


def test_converting_generated_scenes_gives_the_same_data_set(tmp_path, program):
    """Whole frames, written in the layout of the published file and converted, give the same scenes and manifest."""
    out, path = tmp_path / "out", tmp_path / "clevr.tfrecords"
    sizes = ("--train", "0", "--val", "0", "--test", "3", "--processes", "1")
    assert not main(["generate", "clevr", str(out), "--preset", "clevr10", *sizes, "--blender", program])
    records = records_of(out, "test")
    path.write_bytes(b"".join(frame(example(array_features(published_arrays(record)))) for record in records))
    assert not main(["convert", "clevr", str(path), str(tmp_path / "back"), "--preset", "clevr10"])
    for one, other in zip(records, records_of(tmp_path / "back", "test"), strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.segmentation, other.segmentation)
        assert one.factors == other.factors
    generated, converted = (Manifest.load(folder).to_json() for folder in (out, tmp_path / "back"))
    assert generated.keys() == converted.keys()
    for name in ("dataset", "variant", "image_size", "max_objects", "slots", "factors"):
        assert generated[name] == converted[name]


def published_arrays(record):
    """A scene in the shapes and codes of the published file."""
    objects = record.factors
    arrays = {
        "image": record.image,
        "mask": np.stack([255 * (record.segmentation == entity) for entity in range(11)]).astype(np.uint8)[..., None],
        "visibility": (np.arange(11) <= len(objects)).astype(np.float32),
    }

    def column(values, dtype):
        return np.array([0, *values, *[0] * (10 - len(objects))], dtype)

    for name in ("x", "y", "z", "rotation"):
        arrays[name] = column([factors[name] for factors in objects], np.float32)
    pixels = [column([factors[f"pixel_{axis}"] for factors in objects], np.float32) for axis in "xyz"]
    arrays["pixel_coords"] = np.stack(pixels, axis=1)
    for name, names in CLASSES.items():
        arrays[name] = column([names.index(factors[name]) + 1 for factors in objects], np.uint8)
    return arrays


def test_the_json_of_a_scene_is_complete():
    source = Clevr(1, Blender((), ""), 0, "train", SIX)
    scene = source.layout(0)
    value = json.loads(json.dumps(description(scene, FRAME)))
    assert value["size"] == [240, 320]
    assert value["view"] == [0, 0, 1, 1]
    assert value["camera"]["position"] == list(scene.setting.camera.position)
    assert (value["camera"]["lens"], value["camera"]["sensor"]) == (35, 32)
    assert value["lamps"].keys() == {"key", "fill", "back"}
    for entry, factors in zip(value["objects"], scene.objects, strict=True):
        assert entry["position"] == [factors[axis] for axis in "xyz"]
        assert entry["half_height"] == factors["z"]
        assert {name: entry[name] for name in ("shape", "material", "color", "rotation")}.items() <= factors.items()
    assert description(scene, crop(96))["view"] == pytest.approx((64 / 320, 29 / 240, 256 / 320, 221 / 240))


def test_a_rendered_image_of_a_wrong_size_is_refused(tmp_path, program):
    blender = find_blender(program)
    source = Clevr(2, blender, 0, "train", SIX, 32)
    with Painter(blender) as paint:
        assert paint(source.layout(0), crop(32)).shape == (32, 32, 3)
    assert len(list(chain(source.records(1)))) == 1
