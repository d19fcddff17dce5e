"""Progress bars in a terminal, and lines in a file."""

import io
import re
from contextlib import redirect_stdout

import pytest

import tiny
from emorl.callbacks import ProgressBar, RefinementCurriculum, display
from emorl.callbacks.progress import Pace

pytestmark = pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers")

ESCAPE = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")


class Terminal(io.StringIO):
    """Takes what is drawn."""

    def isatty(self):
        return True

    def lines(self):
        return ESCAPE.sub("", self.getvalue()).replace("\r", "\n").splitlines()


@pytest.fixture
def terminal(monkeypatch):
    """A terminal, for standard output, that refreshes at once."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(display, "REFRESH", 0.0)
    return Terminal()


def fit(shards, folder, *callbacks, **arguments):
    options = {"max_steps": 8, "val_check_interval": 4, "check_val_every_n_epoch": None}
    trainer = tiny.trainer(
        folder, callbacks=[ProgressBar(), *callbacks], enable_progress_bar=True, **options | arguments
    )
    trainer.fit(tiny.module(), tiny.data(shards))
    return trainer


def test_a_terminal_shows_the_whole_run_and_how_it_fares(shards, tmp_path, terminal):
    with redirect_stdout(terminal):
        fit(shards, tmp_path, RefinementCurriculum({0: 1, 6: 0}))
    lines = terminal.lines()
    steps = [line for line in lines if line.startswith("training")]
    assert steps[0].endswith("1/8")
    assert steps[-1].endswith("8/8")  # over the epoch's end at 6
    assert any(re.fullmatch(r"validation +.* 2/3", line) for line in lines)
    facts = [line for line in lines if line.startswith("loss")]
    assert re.fullmatch(r"loss -?[\d.e+]+, I = 1, [\d.e+]+ images/s, \d+ s left", facts[1])
    assert re.fullmatch(r"loss .*, I = 0, FG-ARI -?0\.\d{3} \(I = 0: -?0\.\d{3}\), [\d.e+]+ images/s", facts[-1])


def test_a_file_gets_a_line_after_each_validation_alone(shards, tmp_path, capsys):
    fit(shards, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(", ")[0] for line in lines] == ["training: 4 of 8", "training: 8 of 8"]
    assert "\x1b" not in "".join(lines)


def test_a_file_gets_a_line_when_minutes_have_passed(shards, tmp_path, capsys):
    trainer = tiny.trainer(tmp_path, callbacks=ProgressBar(minutes=0.0), enable_progress_bar=True, max_steps=3)
    trainer.fit(tiny.module(), tiny.data(shards))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(", ")[0] for line in lines] == [f"training: {step} of 3" for step in (1, 2, 3)]


def test_what_resumes_counts_from_its_step(shards, tmp_path, capsys):
    fit(shards, tmp_path, max_steps=3).save_checkpoint(tmp_path / "a.ckpt")
    trainer = tiny.trainer(tmp_path, callbacks=ProgressBar(minutes=0.0), enable_progress_bar=True, max_steps=5)
    capsys.readouterr()
    trainer.fit(tiny.module(), tiny.data(shards), ckpt_path=tmp_path / "a.ckpt")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(", ")[0] for line in lines] == ["training: 4 of 5", "training: 5 of 5"]


@pytest.mark.parametrize(("stage", "shown"), [("test", "test"), ("predict", "predict"), ("validate", "validation")])
def test_other_stages_have_bars(stage, shown, shards, tmp_path, terminal):
    trainer = tiny.trainer(tmp_path, callbacks=ProgressBar(), enable_progress_bar=True)
    options = {} if stage == "predict" else {"verbose": False}
    with redirect_stdout(terminal):
        getattr(trainer, stage)(tiny.module(), tiny.data(shards), **options)
    assert any(re.fullmatch(rf"{shown} .* 3/3", line) for line in terminal.lines())


def test_a_disabled_bar_shows_nothing(shards, tmp_path, capsys):
    """As in all processes but the first."""
    bar = ProgressBar()
    bar.disable()
    tiny.trainer(tmp_path, callbacks=bar, enable_progress_bar=True, max_steps=1).fit(tiny.module(), tiny.data(shards))
    assert capsys.readouterr().out == ""


def test_an_error_gives_the_terminal_back(shards, tmp_path, terminal):
    class Failing(RefinementCurriculum):
        def on_train_batch_start(self, trainer, *_):
            if trainer.global_step == 1:
                raise FloatingPointError

    with redirect_stdout(terminal):
        with pytest.raises(FloatingPointError):
            fit(shards, tmp_path, Failing({0: 0}))
        print("after")
    assert terminal.lines()[-1] == "after"


def test_a_dumb_terminal_is_none(terminal, monkeypatch):
    with redirect_stdout(terminal):
        assert display.is_terminal()
        monkeypatch.setenv("TERM", "dumb")
        assert not display.is_terminal()


def test_the_pace_leaves_validation_out_of_the_rate_and_counts_it_for_the_time(monkeypatch):
    clock = iter([100.0, 120.0, 120.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    pace = Pace(first=10, refinement_steps=1)
    pace.images, pace.pauses = 30, 5.0
    assert pace.images_per_second() == 2
    assert pace.seconds_left(step=14, total=18) == 20
