"""The local web server: reachable only from this computer, MIME types, only files of the folder."""

from __future__ import annotations

import urllib.request
from http.client import HTTPConnection
from urllib.error import HTTPError

import pytest
from background import serving

from emorl.errors import DataError
from emorl.explore.serve import server


@pytest.fixture
def folder(tmp_path):
    site = tmp_path / "site"
    site.mkdir()
    for name in ("index.html", "app.js", "ort.mjs", "ort.wasm", "encode.onnx", "meta.json", "style.css"):
        (site / name).write_text(name)
    (tmp_path / "secret").write_text("secret")
    return site


TYPES = {
    "": "text/html",
    "app.js": "text/javascript",
    "ort.mjs": "text/javascript",
    "ort.wasm": "application/wasm",
    "encode.onnx": "application/octet-stream",
    "meta.json": "application/json",
    "style.css": "text/css",
}


def test_files_have_the_types_that_browsers_require(folder):
    with serving(folder) as address:
        for name, expected in TYPES.items():
            with urllib.request.urlopen(address + name) as answer:
                assert answer.headers.get_content_type() == expected
                assert answer.headers["Cache-Control"] == "no-cache"
                assert answer.read().decode() == (name or "index.html")


def test_only_this_computer_and_only_the_folder_are_served(folder):
    with serving(folder) as address:
        assert address.startswith("http://127.0.0.1:")
        connection = HTTPConnection(address.split("/")[2])
        connection.request("GET", "/../secret")
        assert connection.getresponse().status == 404
        connection.close()
        with pytest.raises(HTTPError, match="404"):
            urllib.request.urlopen(address + "nothing")


def test_a_port_that_is_taken_is_an_error(folder):
    with server(folder) as running:
        port = running.server_address[1]
        with pytest.raises(DataError, match=f"port: expected a free port, got {port}.*--port"):
            server(folder, port)


@pytest.mark.parametrize("port", [-1, 70000])
def test_a_port_out_of_range_is_an_error(folder, port):
    with pytest.raises(DataError, match=f"expected a free port, got {port}"):
        server(folder, port)
