"""A proxy before the S3 server that fails on purpose: refuses requests, or loses the answers of granted ones."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.web_server import WebServer


class FaultyProxy:
    """Forwards to an endpoint; the next requests of a method meet the faults that were planned for them.

    Faults: "refuse" answers 503 without forwarding; "lose" forwards and then hangs up without an answer.
    """

    def __init__(self, endpoint: str) -> None:
        self.target = urlsplit(endpoint).netloc
        self.faults: dict[str, list[str]] = {}
        self.met: list[str] = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                proxy.handle(self)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

            def log_message(self, *args: object) -> None:
                pass

        self.server = WebServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def handle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        """Answer one request, or fail as planned."""
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        planned = self.faults.get(request.command)
        fault = planned.pop(0) if planned else ""
        if fault:
            self.met.append(fault)
        if fault == "refuse":
            request.send_response(503)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        connection = http.client.HTTPConnection(self.target, timeout=30)
        connection.request(request.command, request.path, body, dict(request.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if fault == "lose":
            request.close_connection = True
            request.connection.close()
            return
        request.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "content-length", "date", "server"):
                request.send_header(name, value)
        length = answer.getheader("Content-Length") if request.command == "HEAD" else len(content)
        request.send_header("Content-Length", str(length or 0))
        request.end_headers()
        request.wfile.write(content)


@contextmanager
def faulty_proxy(endpoint: str) -> Iterator[FaultyProxy]:
    """Run a proxy before an endpoint."""
    proxy = FaultyProxy(endpoint)
    threading.Thread(target=proxy.server.serve_forever, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        proxy.server.server_close()
