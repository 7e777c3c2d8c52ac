"""A small web server in a thread, for tests that stand between volseg and what it reads."""

from __future__ import annotations

from http.server import ThreadingHTTPServer


class WebServer(ThreadingHTTPServer):
    """Takes as many connections at once as a server out there.

    Python's own queues five: the sixth client that comes at the same time is not heard, and asks again after a second.
    """

    request_queue_size = 128
    daemon_threads = True

    def serve_forever(self, poll_interval: float = 0.02) -> None:
        """Serve until shut down, which is seen within `poll_interval` seconds."""
        super().serve_forever(poll_interval)
