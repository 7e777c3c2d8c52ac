"""A web server that shows a folder in the ways that servers out there do, or plays S3 with few rights."""

from __future__ import annotations

import re
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.web_server import WebServer


@dataclass
class OddServer:
    """What it does.

    Parameters
    ----------
    root
        The folder.
    missing
        Status for what is not there; 200 sends a page.
    ranges, head
        Whether it knows range requests, and the method HEAD.
    refusal
        S3 code with which it refuses everything, or None.
    payer
        Refuse who does not agree to pay.
    """

    root: Path
    missing: int = 404
    ranges: bool = True
    head: bool = True
    refusal: tuple[int, str] | None = None
    payer: bool = False
    moved_to: str | None = None
    url: str = ""
    asked: list[str] = field(default_factory=list)


@contextmanager
def running(server: OddServer) -> Iterator[OddServer]:
    """Run it on a free port of this machine; `url` is its address."""

    class Handler(_Handler):
        odd = server

    httpd = WebServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{httpd.server_address[1]}"
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


class _Handler(BaseHTTPRequestHandler):
    odd: OddServer

    def do_GET(self) -> None:
        odd, (path, _, query) = self.odd, self.path.partition("?")
        odd.asked.append(f"{self.command} {self.path}")
        file = odd.root / urllib.parse.unquote(path).lstrip("/")
        if self.command == "HEAD" and not odd.head:
            return self._answer(405, b"")
        if odd.moved_to is not None:
            return self._answer(302, b"", {"Location": odd.moved_to + path})
        if odd.refusal is not None:
            return self._refuse(*odd.refusal)
        if odd.payer and self.headers.get("x-amz-request-payer") != "requester":
            return self._refuse(403, "AccessDenied")
        if "list-type" in query:
            return self._refuse(403, "AccessDenied")
        if not file.is_file():
            return self._absent()
        body, found = file.read_bytes(), self.headers.get("Range") if odd.ranges else None
        part = re.fullmatch(r"bytes=(\d*)-(\d*)", found) if found else None
        if part is None:
            return self._answer(200, body)
        first, last = part.groups()
        start = int(first) if first else len(body) - int(last)
        stop = int(last) + 1 if first and last else len(body)
        shown = f"bytes {start}-{min(stop, len(body)) - 1}/{len(body)}"
        return self._answer(206, body[start:stop], {"Content-Range": shown})

    do_HEAD = do_GET

    def _absent(self) -> None:
        if self.odd.missing == 200:
            kind = {"Content-Type": "text/html; charset=utf-8"}
            return self._answer(200, b"<!DOCTYPE html><html>Our application</html>", kind)
        if self.odd.missing == 403:
            return self._refuse(403, "AccessDenied")
        return self._answer(self.odd.missing, b"")

    def _refuse(self, status: int, code: str) -> None:
        region = "<Region>eu-west-1</Region>"
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code>{region}</Error>".encode()
        self._answer(status, body, {"x-amz-bucket-region": "eu-west-1"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
