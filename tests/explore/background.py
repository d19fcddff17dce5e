"""A server in the background."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Thread


@contextmanager
def serving(folder):
    """Serve a folder in the background; yield the address."""
    from emorl.explore.serve import address, server

    with server(folder) as running:
        thread = Thread(target=running.serve_forever)
        thread.start()
        try:
            yield address(running)
        finally:
            running.shutdown()
            thread.join()
