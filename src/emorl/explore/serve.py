"""A web server of static files for this computer alone."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from emorl.errors import DataError, reason

HOST = "127.0.0.1"


class _Files(SimpleHTTPRequestHandler):
    """Files with the types that browsers insist on for modules and WebAssembly, never from a browser's old copy."""

    extensions_map = {  # noqa: RUF012 - as the base class has it
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
    }

    def end_headers(self) -> None:
        """Have browsers ask every time."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a page is a dozen requests."""


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of a folder's files, bound to 127.0.0.1; `serve_forever` starts it.

    Args:
        folder: the folder.
        port: the port; with 0 a free one is chosen.

    Raises:
        DataError: if the port is taken, or is none.
    """
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Files, directory=str(folder)))
    except (OSError, OverflowError) as error:
        remedy = "give another one with --port, or leave it out"
        raise DataError.of("port", expected="a free port", got=f"{port} ({reason(error)})", remedy=remedy) from error


def address(running: ThreadingHTTPServer) -> str:
    """Return where a browser finds it."""
    return f"http://{HOST}:{running.server_address[1]}/"
