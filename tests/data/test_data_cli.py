"""The command `emorl-data`: generate, convert, export, info, verify, preview."""

from typing import get_args

import numpy as np
import pytest
from PIL import Image
from tfrecord_writer import REAL, example, tetrominoes_features, write

import tiny
from emorl.data.cli import main
from emorl.data.commands.generate import TetrominoesVariant
from emorl.data.generate.tetrominoes import COLORS, SHAPES, VARIANTS, Tetrominoes
from emorl.data.shards.manifest import Manifest


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture(scope="module")
def tfrecords(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "mini.tfrecords"
    return write(path, [example(tetrominoes_features(s, SHAPES, COLORS)) for s in Tetrominoes(4).records()])


def generate(out, *options):
    return main(["generate", "tetrominoes", str(out), "--train", "5", "--val", "0", "--test", "2", *options])


def error_of(capsys):
    """Return the single line on stderr."""
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("emorl-data: error: ")
    return line


def test_generate_info_verify_preview(out, tmp_path, capsys):
    assert not generate(out, "--shard_size", "2", "--seed", "3")
    assert "tetrominoes, 5 train, 2 test" in capsys.readouterr().out
    assert not main(["info", str(out)])
    text = capsys.readouterr().out
    for part in ("seed 3", "35 x 35", "at most 3: 4 slots", "color, discrete red", "train: 5 scenes", "shards: 3"):
        assert part in text
    assert Manifest.load(out).checksum in text
    assert not main(["verify", str(out)])
    assert "no problems found" in capsys.readouterr().out
    picture = tmp_path / "sheet.png"
    assert not main(["preview", str(out), "--output", str(picture), "--split", "test", "--count", "9"])
    with Image.open(picture) as image:
        pixels = np.array(image)
    first = tiny.tile(pixels.transpose(2, 0, 1), 0, 0, rows=1, columns=4)
    np.testing.assert_array_equal(first, Tetrominoes(2, seed=3, split="test").scene(0).image.transpose(2, 0, 1))


def test_the_same_command_again_changes_nothing(out, capsys):
    generate(out)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    assert not generate(out)
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")} == before
    assert generate(out, "--seed", "1") == 2
    assert "choose another folder" in error_of(capsys)


def test_splits_differ_and_seeds_repeat(tmp_path):
    for name in ("one", "two"):
        main(["generate", "tetrominoes", str(tmp_path / name), "--train", "3", "--val", "3", "--test", "3"])
    one, two = (Manifest.load(tmp_path / name) for name in ("one", "two"))
    assert one == two
    assert len({split.shards[0].sha256 for split in one.splits.values()}) == 3


@pytest.mark.skipif(not REAL.exists(), reason="no real records in ../shared/data")
def test_convert_real_records(out, capsys):
    assert not main(["convert", "tetrominoes", str(REAL), str(out), "--train", "0", "--test", "10"])
    assert not main(["verify", str(out)])
    assert "no problems found" in capsys.readouterr().out
    assert list(Manifest.load(out).splits) == ["test"]


def test_convert_takes_splits_in_order(out, tfrecords):
    assert not main(["convert", "tetrominoes", str(tfrecords), str(out), "--train", "3", "--test", "1"])
    manifest = Manifest.load(out)
    assert manifest.splits["train"].indices == "0-2"
    assert manifest.splits["test"].indices == "3"
    assert manifest.source["file"] == "mini.tfrecords"


def test_convert_makes_a_file_too_short_for_the_papers_splits_a_test_split(out, tfrecords):
    assert not main(["convert", "tetrominoes", str(tfrecords), str(out)])
    assert {name: split.samples for name, split in Manifest.load(out).splits.items()} == {"test": 4}


def test_convert_takes_the_papers_splits_of_a_file_that_is_long_enough(out, tfrecords, monkeypatch):
    monkeypatch.setattr("emorl.data.commands.convert.TRAIN", 2)
    monkeypatch.setattr("emorl.data.commands.convert.TEST", 1)
    monkeypatch.setattr("emorl.data.commands.convert.VAL", 1)
    assert not main(["convert", "tetrominoes", str(tfrecords), str(out)])
    assert {name: split.indices for name, split in Manifest.load(out).splits.items()} == {
        "train": "0-1",
        "test": "2",
        "val": "3",
    }


def test_convert_with_splits_longer_than_the_file(out, tfrecords, capsys):
    assert main(["convert", "tetrominoes", str(tfrecords), str(out), "--train", "60000"]) == 2
    message = "mini.tfrecords: expected at most 4 scenes in all splits, the number available, got 60000 train = 60000"
    assert message in error_of(capsys)
    assert not out.exists()
    assert main(["info", str(out)]) == 2
    assert "manifest.json: cannot be read (No such file or directory)" in error_of(capsys)


def test_convert_of_no_tfrecord(out, tmp_path, capsys):
    assert main(["convert", "tetrominoes", str(tmp_path / "nothing"), str(out)]) == 2
    assert "nothing: cannot be read (No such file or directory); give the path of a TFRecord file" in error_of(capsys)
    assert not out.exists()
    (tmp_path / "text").write_text("not a TFRecord at all")
    assert main(["convert", "tetrominoes", str(tmp_path / "text"), str(out)]) == 2
    assert "text: record 0: expected a TFRecord header" in error_of(capsys)


def test_out_is_a_file_or_contains_other_files(out, capsys):
    out.touch()
    assert generate(out) == 2
    assert str(out) in error_of(capsys)
    out.unlink()
    out.mkdir()
    (out / "notes.txt").touch()
    assert generate(out) == 2
    assert "expected a new or empty folder, got notes.txt" in error_of(capsys)


@pytest.mark.parametrize("command", ["info", "verify", "preview"])
def test_folder_without_a_manifest(command, out, capsys):
    assert main([command, str(out)]) == 2
    assert "out/manifest.json: cannot be read (No such file or directory); check the path, or run" in error_of(capsys)


def test_verify_of_a_damaged_data_set(out, capsys):
    generate(out)
    capsys.readouterr()
    (out / "test-000000.tar").unlink()
    (out / "train-000000.tar").write_bytes(b"")
    assert main(["verify", str(out)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[-1].endswith("2 problems")


def test_preview_is_no_wider_than_its_scenes(out, tmp_path):
    assert not generate(out)
    assert not main(["preview", str(out), "--output", str(tmp_path / "one.png"), "--count", "1"])
    with Image.open(tmp_path / "one.png") as picture:
        height, width = tiny.sheet_size(1, 2)  # image and segmentation, four times as large
        assert height < picture.height < height + 40
        assert width < picture.width < width + 80


def test_preview_without_masks_shows_only_images(out, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in "abcdef":
        Image.new("RGB", (35, 35), "red").save(photos / f"{name}.png")
    assert not main(["convert", "folder", str(photos), str(out)])
    assert not main(["preview", str(out), "--output", str(tmp_path / "sheet.png")])
    with Image.open(tmp_path / "sheet.png") as picture:
        height, width = tiny.sheet_size(2, 4)  # six images in rows of four
        assert height < picture.height < height + 60
        assert width < picture.width < width + 80
        pixels = np.array(picture)
    assert (pixels == 0).all(-1).mean() < 0.02  # only text is black


def test_preview_reports_that_it_replaces_a_file(out, tmp_path, capsys):
    assert not generate(out)
    words = ["preview", str(out), "--output", str(tmp_path / "a.png")]
    capsys.readouterr()
    assert not main(words)
    assert capsys.readouterr().out == f"Wrote {tmp_path}/a.png\n"
    assert not main(words)
    assert capsys.readouterr().out == f"Wrote {tmp_path}/a.png, replacing the previous file\n"


def test_preview_of_an_unknown_split(out, capsys):
    generate(out)
    capsys.readouterr()
    assert main(["preview", str(out), "--split", "val"]) == 2
    assert "expected a split 'val', got train, test" in error_of(capsys)


@pytest.mark.parametrize("options", [["--train", "-1"], ["--shard_size", "0"], ["--seed", "x"], ["--what", "1"]])
def test_wrong_options(out, options, capsys):
    with pytest.raises(SystemExit, match="2"):
        generate(out, *options)
    assert options[0].strip("-") in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("command", [["generate", "tetrominoes"], ["convert", "tetrominoes"], ["info"], []])
def test_help(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    assert "usage: emorl-data" in capsys.readouterr().out


def test_interruption_prints_how_to_resume(out, monkeypatch, capsys):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("emorl.data.commands.common.write_shards", interrupt)
    assert generate(out) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_every_variant_of_tetrominoes_can_be_generated(tmp_path):
    assert set(get_args(TetrominoesVariant)) == set(VARIANTS)
    for variant in VARIANTS:
        sizes = ("--train", "0", "--val", "0", "--test", "1")
        assert main(["generate", "tetrominoes", str(tmp_path / variant), "--variant", variant, *sizes]) is None
        manifest = Manifest.load(str(tmp_path / variant))
        assert (manifest.variant, manifest.max_objects) == (variant, VARIANTS[variant].objects)
