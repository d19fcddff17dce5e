"""A web server of static files that only this computer can reach."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from emorl.errors import DataError, reason

HOST = "127.0.0.1"


class _Files(SimpleHTTPRequestHandler):
    """Serves files with the MIME types that browsers require for modules and WebAssembly, without browser caching."""

    extensions_map = {  # noqa: RUF012 - as in the base class
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
    }

    def end_headers(self) -> None:
        """Disable the browser's cache."""
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing, since a page makes a dozen requests."""


def server(folder: Path, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of a folder's files, bound to 127.0.0.1; `serve_forever` starts it.

    Args:
        folder: the folder.
        port: the port, 0 to 65535; 0 chooses a free one.

    Raises:
        DataError: if the port is in use, or out of range.

    >>> with server(Path("."), port=0) as running:
    ...     running.server_address[0]
    '127.0.0.1'
    """
    try:
        return ThreadingHTTPServer((HOST, port), partial(_Files, directory=str(folder)))
    except (OSError, OverflowError) as error:
        remedy = "give another port with --port, or leave it out"
        raise DataError.of("port", expected="a free port", got=f"{port} ({reason(error)})", remedy=remedy) from error


def address(running: ThreadingHTTPServer) -> str:
    """Return the URL of a server.

    >>> with server(Path("."), port=0) as running:
    ...     address(running).startswith("http://127.0.0.1:")
    True
    """
    return f"http://{HOST}:{running.server_address[1]}/"
