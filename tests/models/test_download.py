"""Fetching weights from a server that breaks off, forgets, changes its mind or sends rubbish."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from volseg.errors import ModelUnavailableError
from volseg.models.download import download, sha256_of

CONTENT = np.random.default_rng(0).bytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Behaviour:
    """What the server does, and what it was asked."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    break_after: list[int] = field(default_factory=list)  # bytes sent by the next answers
    statuses: list[int] = field(default_factory=list)  # of the next answers
    ranges: bool = True
    asked: list[str] = field(default_factory=list)


class Server:
    """An HTTP server on the loopback with a behaviour that a test changes as it goes."""

    def __init__(self) -> None:
        self.behaviour = behaviour = Behaviour()

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                behaviour.asked.append(wanted or "whole")
                if behaviour.statuses:
                    self.send_error(behaviour.statuses.pop(0))
                    return
                start, content = 0, behaviour.content
                same = self.headers.get("If-Range") == behaviour.etag
                if wanted and behaviour.ranges and same:
                    start = int(wanted.removeprefix("bytes=").rstrip("-"))
                    if start >= len(content):
                        self.send_response(416)
                        self.send_header("Content-Range", f"bytes */{len(content)}")
                        self.send_header("Content-Length", "0")
                        self.end_headers()
                        return
                    self.send_response(206)
                    self.send_header(
                        "Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}"
                    )
                else:
                    self.send_response(200)
                if behaviour.etag:
                    self.send_header("ETag", behaviour.etag)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                rest = content[start:]
                if behaviour.break_after:
                    rest = rest[: behaviour.break_after.pop(0)]
                self.wfile.write(rest)
                self.wfile.flush()
                self.close_connection = True

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/weights.pth"

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    one = Server()
    yield one
    one.stop()


def fetch(server: Server, target: Path, sha256: str | None = DIGEST, url: str = "") -> Path:
    return download(
        url or server.url, target, sha256=sha256, way_out="By hand: do this", timeout=5, pause=0.01
    )


def left(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))


def test_a_whole_download_is_checked_and_leaves_nothing_beside_it(
    server: Server, tmp_path: Path
) -> None:
    target = tmp_path / "deep" / "w.pth"
    told: list[tuple[int, int]] = []
    download(
        server.url,
        target,
        sha256=DIGEST,
        way_out="",
        progress=lambda stage, done, total, message="": told.append((done, total)),
    )
    assert sha256_of(target) == DIGEST
    assert left(target.parent) == ["w.pth"]
    assert told[-1] == (len(CONTENT), len(CONTENT))


def test_a_broken_off_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.behaviour.break_after = [100_000, 50_000]
    fetch(server, tmp_path / "w.pth")
    assert server.behaviour.asked == ["whole", "bytes=100000-", "bytes=150000-"]
    assert sha256_of(tmp_path / "w.pth") == DIGEST


def test_another_call_resumes_what_an_earlier_one_left(server: Server, tmp_path: Path) -> None:
    server.behaviour.break_after = [100_000] + [0] * 10
    with pytest.raises(ModelUnavailableError, match="100000 bytes are kept"):
        fetch(server, tmp_path / "w.pth")
    assert left(tmp_path) == ["w.pth.part", "w.pth.part.json"]
    server.behaviour.break_after.clear()
    server.behaviour.asked.clear()
    fetch(server, tmp_path / "w.pth")
    assert server.behaviour.asked == ["bytes=100000-"]
    assert left(tmp_path) == ["w.pth"]


def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(
    server: Server, tmp_path: Path
) -> None:
    server.behaviour.break_after = [100_000] + [0] * 10
    with pytest.raises(ModelUnavailableError):
        fetch(server, tmp_path / "w.pth")
    server.behaviour.break_after.clear()
    server.behaviour.content = CONTENT[::-1]
    server.behaviour.etag = '"two"'
    fetch(server, tmp_path / "w.pth", hashlib.sha256(CONTENT[::-1]).hexdigest())


@pytest.mark.parametrize(("ranges", "etag"), [(False, '"one"'), (True, None)])
def test_servers_that_cannot_resume_are_asked_for_everything(
    server: Server, tmp_path: Path, ranges: bool, etag: str | None
) -> None:
    server.behaviour.ranges, server.behaviour.etag = ranges, etag
    server.behaviour.break_after = [100_000]
    fetch(server, tmp_path / "w.pth")
    assert sha256_of(tmp_path / "w.pth") == DIGEST


def test_everything_there_but_not_yet_in_place(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.pth.part").write_bytes(CONTENT)
    (tmp_path / "w.pth.part.json").write_text(f'{{"url": "{server.url}", "version": "\\"one\\""}}')
    fetch(server, tmp_path / "w.pth")
    assert server.behaviour.asked == [f"bytes={len(CONTENT)}-"]


def test_a_wrong_digest_is_thrown_away(server: Server, tmp_path: Path) -> None:
    server.behaviour.content = b"not the weights"
    with pytest.raises(ModelUnavailableError, match="SHA-256") as caught:
        fetch(server, tmp_path / "w.pth")
    assert DIGEST in str(caught.value)
    assert "By hand" in str(caught.value)
    assert left(tmp_path) == []


def test_passing_trouble_is_tried_again_and_a_refusal_is_not(
    server: Server, tmp_path: Path
) -> None:
    server.behaviour.statuses = [503, 500]
    fetch(server, tmp_path / "w.pth")
    assert len(server.behaviour.asked) == 3
    server.behaviour.asked.clear()
    server.behaviour.statuses = [404]
    with pytest.raises(ModelUnavailableError, match=r"HTTP 404.*By hand"):
        fetch(server, tmp_path / "v.pth")
    assert len(server.behaviour.asked) == 1


def test_without_a_network_the_message_names_the_way_by_hand(
    server: Server, tmp_path: Path
) -> None:
    with pytest.raises(ModelUnavailableError, match="By hand: do this") as caught:
        fetch(server, tmp_path / "w.pth", url="http://127.0.0.1:9/weights.pth")
    assert "127.0.0.1:9" in str(caught.value)


def test_two_at_once_fetch_once(server: Server, tmp_path: Path) -> None:
    threads = [threading.Thread(target=fetch, args=(server, tmp_path / "w.pth")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.behaviour.asked == ["whole"]
    assert sha256_of(tmp_path / "w.pth") == DIGEST


def test_a_folder_that_cannot_be_written_is_said(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.pth.part").mkdir()
    with pytest.raises((ModelUnavailableError, IsADirectoryError)):
        fetch(server, tmp_path / "w.pth")
