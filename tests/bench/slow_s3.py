"""A TCP proxy on loopback that adds latency before an S3 server and counts the requests that pass."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from dataclasses import dataclass, field

_REQUEST = re.compile(rb"^(GET|PUT|HEAD|POST|DELETE) (\S+) HTTP/1\.1\r\n")


@dataclass
class SlowS3:
    """A running proxy.

    Parameters
    ----------
    host, port
        Of the server.
    latency_s
        Added before each request.
    """

    host: str
    port: int
    latency_s: float
    requests: list[tuple[str, str]] = field(default_factory=list)
    own_port: int = 0

    def start(self) -> str:
        """Listen on a free port and return the endpoint."""
        ready = threading.Event()

        def run() -> None:
            asyncio.run(self._serve(ready))

        threading.Thread(target=run, daemon=True, name="slow-s3").start()
        ready.wait(20)
        return f"http://127.0.0.1:{self.own_port}"

    def count(self) -> Counter[str]:
        """Return and forget what passed since the last call, by method."""
        seen, self.requests = self.requests, []
        return Counter(method for method, _ in seen)

    async def _serve(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0, limit=2**24)
        self.own_port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await server.serve_forever()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection(self.host, self.port)
        await asyncio.gather(
            self._forward(reader, their_writer, count=True),
            self._forward(their_reader, writer, count=False),
            return_exceptions=True,
        )

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool
    ) -> None:
        try:
            while data := await reader.read(2**20):
                found = _REQUEST.match(data) if count else None
                if found:
                    self.requests.append((found[1].decode(), found[2].decode()))
                    await asyncio.sleep(self.latency_s)
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
