"""Listing of image folders: which files are read, their order and their keys."""

import os

import pytest
from PIL import Image

from emorl.data.folders import find_images, list_folder
from emorl.errors import DataError


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 6)).save(path, "PNG")


@pytest.fixture
def folder(tmp_path):
    for name in ("b.png", "a.JPG", "c.jpeg", "d.Webp", ".e.png", "._a.JPG"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").touch()
    return tmp_path


def test_images_come_in_the_order_of_their_names(folder):
    found = find_images(folder)
    assert [path.name for path in found.paths] == ["a.JPG", "b.png", "c.jpeg", "d.Webp"]
    assert found.keys == ("a", "b", "c", "d")
    assert found.left_out == f"{folder}: skipped 1 file without an image suffix (notes.txt)"


def test_subfolders_are_read_if_recursive(folder):
    for path in ("x/a.png", "x/y/v1.2.png", ".z/a.png", "w.png/a.bmp"):
        save(folder / path)
    (folder / "loop").symlink_to(folder)
    link = "1 subfolder (loop; symbolic links to folders are not followed)"
    flat, deep = find_images(folder), find_images(folder, recursive=True)
    assert flat.keys == ("a", "b", "c", "d")
    assert f"2 subfolders (w.png, x; the option recursive reads them) and {link}" in flat.left_out
    assert deep.keys == ("a", "b", "c", "d", "w.png/a", "x/a", "x/y/v1.2")
    assert deep.left_out.endswith(f" and {link}")


def test_a_single_image(folder):
    assert find_images(folder / "a.JPG") == ((folder / "a.JPG",), ("a",), "")


def test_messages_name_at_most_three_files(folder):
    for number in range(5):
        (folder / f"{number}.avi").touch()
    assert "skipped 6 files without an image suffix (0.avi, 1.avi, 2.avi, ...)" in find_images(folder).left_out


def test_names_of_any_bytes(tmp_path):
    names = [b"a\xff.png", b"new\nline.png", b"-dash.png", b"a:b.png", b"  .png", b"x" * 251 + b".png"]
    for name in names:
        save(tmp_path / os.fsdecode(name))
    assert {os.fsencode(key) + b".png" for key in find_images(tmp_path).keys} == set(names)


def test_entries_that_are_not_files_are_skipped(folder):
    os.mkfifo(folder / "pipe.png")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    listing = list_folder(folder, recursive=False)
    assert [path.name for path in listing.others] == ["notes.txt", "pipe.png"]
    assert folder / "gone.png" in listing.images  # reading it raises the error


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(DataError, match="nowhere: expected a folder, got no such folder; check the path"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match="expected a folder, got File name too long; check the path"):
        find_images(tmp_path / ("x" * 300))


def test_a_folder_without_images(tmp_path):
    (tmp_path / "a.avi").touch()
    save(tmp_path / "sub/a.png")
    match = r"with images in it \(\.png, \.jpg, .*\), or .* got neither \(skipped 1 file .* and 1 subfolder \(sub; "
    with pytest.raises(DataError, match=match):
        find_images(tmp_path)


def test_two_images_of_one_name(folder):
    save(folder / "a.png")
    with pytest.raises(DataError, match=r"expected one image of each name, got several named a; rename them"):
        find_images(folder)
    save(folder / "x/a.png")
    with pytest.raises(DataError, match="several named a; rename"):
        find_images(folder, recursive=True)
