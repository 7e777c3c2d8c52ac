"""A proxy before an S3 server that spoils requests: busy, broken, cut, stalled and slow, in turn or at random."""

from __future__ import annotations

import http.client
import itertools
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.web_server import WebServer

FAULTS = ("busy", "broken", "cut", "lost answer", "slow", "stalled")
SLOW_PIECES = 4
STALL_SECONDS = 0.3
BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
BROKEN = b"<Error><Code>InternalError</Code><Message>We had an internal error.</Message></Error>"


class BadS3:
    """Serves on a free loopback port until closed; forwards to `endpoint` all but every `every`-th request.

    With a `seed` each request is spoiled at random, one of `every` on average, so that a retry may be spoiled again.

    ``lost answer`` is forwarded, and its answer thrown away: the client can't know that it took effect.
    """

    def __init__(self, endpoint: str, every: int = 3, seed: int | None = None) -> None:
        self.behind = urlsplit(endpoint).netloc
        self.every = every
        self.random = None if seed is None else random.Random(seed)
        self.always: str | None = None  # a fault for every request
        self.spoiled: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._server = WebServer(("127.0.0.1", 0), _handler(self))
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def next_fault(self) -> str | None:
        """The fault for the next request, None for none."""
        with self._lock:
            number = next(self._numbers)
            fault = self.always
            if fault is None and self.every and self.random is not None:
                fault = (
                    self.random.choice(FAULTS) if self.random.random() < 1 / self.every else None
                )
            elif fault is None and self.every and number % self.every == 0:
                fault = FAULTS[number // self.every % len(FAULTS)]
            if fault:
                self.spoiled[fault] += 1
            return fault

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _handler(proxy: BadS3) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = proxy.next_fault()
            if fault in ("busy", "broken"):
                status, text = (503, BUSY) if fault == "busy" else (500, BROKEN)
                self._answer(status, [("Content-Type", "application/xml")], text)
                return
            if fault == "stalled":
                time.sleep(STALL_SECONDS)
            if fault in ("cut", "stalled"):
                self.close_connection = True
                self.connection.close()
                return
            status, headers, data = self._forward(body)
            if fault == "lost answer":
                self.close_connection = True
                self.connection.close()
                return
            self._answer(status, headers, data, slowly=fault == "slow")

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

        def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            behind = http.client.HTTPConnection(proxy.behind, timeout=60)
            behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # the signed host is the proxy's
                behind.putheader(name, value)
            behind.endheaders(body or None)
            answer = behind.getresponse()
            data = answer.read()
            behind.close()
            return answer.status, answer.getheaders(), data

        def _answer(
            self, status: int, headers: list[tuple[str, str]], data: bytes, slowly: bool = False
        ) -> None:
            self.send_response_only(status)
            skip = ("content-length", "transfer-encoding", "connection")
            length = next((v for k, v in headers if k.lower() == "content-length"), str(len(data)))
            for name, value in headers:
                if name.lower() not in skip:
                    self.send_header(name, value)
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
            self.end_headers()
            step = max(1, len(data) // SLOW_PIECES) if slowly else max(1, len(data))
            for start in range(0, len(data), step):
                self.wfile.write(data[start : start + step])
                if slowly:
                    self.wfile.flush()
                    time.sleep(0.05)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    return Handler
