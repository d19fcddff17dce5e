"""A local web server that fails in requested ways."""

import functools
import os
import threading
import time
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock
from urllib.parse import unquote

DROP = "the connection is closed without an answer"
CUT = "the connection is closed half-way"
UNMARKED = "the connection is closed half-way, and nothing had said how long the answer is"
STALL = "nothing more comes after half the answer"
SPOIL = "a byte is another one"


class Handler(SimpleHTTPRequestHandler):
    error_message_format = "<Error><Code>%(code)d</Code><Message>%(message)s</Message></Error>"  # format of S3

    def do_GET(self):
        with self.server.lock:
            self.server.requests.append(unquote(self.path))
            fault = self.server.fault(self.server.requests)
        if fault is None:
            super().do_GET()
        elif isinstance(fault, int):
            self.send_error(fault)
        elif fault is not DROP:
            self.answer(Path(self.translate_path(self.path)).read_bytes(), fault)

    def answer(self, content, fault):
        self.send_response(200)
        if fault is not UNMARKED:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        if fault is STALL:
            time.sleep(5)
        elif fault is SPOIL:
            self.wfile.write(bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :])

    def log_message(self, *args):
        pass


@contextmanager
def serve(folder, fault=lambda _: None):
    """Serve a folder.

    Args:
        folder: the folder.
        fault: what goes wrong with the last one of the requests so far: a status, one of the above, or nothing.

    Yields:
        The URL of the folder, and the list of the paths that were asked for.
    """
    handler = functools.partial(Handler, directory=str(folder))
    environment = mock.patch.dict(os.environ, {"no_proxy": "127.0.0.1"})
    with environment, ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.lock, server.requests, server.fault = threading.Lock(), [], fault
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", server.requests
        server.shutdown()
