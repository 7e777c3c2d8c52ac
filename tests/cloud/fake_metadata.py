"""An instance metadata service (IMDSv2) as a script: refuses requests without a token.

Its answers stand in a JSON file, read anew for each request, so that a test announces a spot
interruption by writing.
"""

from __future__ import annotations

import json
import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Service(ThreadingHTTPServer):
    """Serves the paths that the file names; remembers the tokens it gave."""

    daemon_threads = True
    tokens: set[str]
    answers: Path


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_PUT(self) -> None:
        if self.path != "/latest/api/token" or not self.headers.get(
            "X-aws-ec2-metadata-token-ttl-seconds"
        ):
            return self._say(400, "")
        token = secrets.token_hex(16)
        self.server.tokens.add(token)
        return self._say(200, token)

    def do_GET(self) -> None:
        if self.headers.get("X-aws-ec2-metadata-token") not in self.server.tokens:
            return self._say(401, "")
        known = json.loads(self.server.answers.read_text())
        answer = known.get(self.path.removeprefix("/latest/meta-data/"))
        return self._say(404, "") if answer is None else self._say(200, answer)

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def make_service(host: str, port: int, answers: Path) -> Service:
    """Return the service, bound but not yet serving."""
    service = Service((host, port), Handler)
    service.tokens = set()
    service.answers = answers
    return service


if __name__ == "__main__":
    service = make_service(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    print("ready", flush=True)
    service.serve_forever()
