"""Fetching one large file over HTTP: resumed where it broke off, checked by SHA-256, put in place
in one step.

What is fetched and why lives in `registry`.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from filelock import FileLock

from volseg.errors import ModelUnavailableError
from volseg.progress import Progress, silent

logger = logging.getLogger(__name__)

PIECE = 2**20  # bytes read at once
ATTEMPTS = 5  # tries in a row that bring nothing new before giving up


class _Fatal(Exception):
    """The server's answer will not change by asking again."""


def sha256_of(path: Path) -> str:
    """SHA-256 of a file as lower-case hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None,
    way_out: str,
    progress: Progress | None = None,
    timeout: float = 30.0,
    pause: float = 0.5,
) -> Path:
    """Fetch `url` into `target`, going on where an earlier attempt, in this process or another,
    broke off.

    Parameters
    ----------
    url : str
        http or https.
    target : Path
        Final place. Until all is there and checked, the bytes lie in ``<target>.part`` beside it.
    sha256 : str or None
        Expected digest, lower-case hex; None accepts any.
    way_out : str
        What a person can do where fetching fails; the end of every error message.
    progress : Progress, optional
        Told bytes done and bytes in total.
    timeout, pause : float
        Seconds to wait for the server, and before the first new attempt (doubled each time).

    Raises
    ------
    ModelUnavailableError
        The server can't be reached or refuses, or the file has another digest.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(target.name + ".lock")):  # between the processes of one machine
        if target.exists():
            return target  # another process was quicker
        part = target.with_name(target.name + ".part")
        _fetch_all(url, part, way_out, progress or silent, timeout, pause)
        found = sha256_of(part)
        if sha256 is not None and found != sha256:
            part.unlink()
            _note(part).unlink(missing_ok=True)
            raise ModelUnavailableError(
                f"what {url} sent has SHA-256 {found}, but {sha256} was expected; "
                f"the file was thrown away. {way_out}"
            )
        part.replace(target)
        _note(part).unlink(missing_ok=True)
    return target


def _fetch_all(
    url: str, part: Path, way_out: str, progress: Progress, timeout: float, pause: float
) -> None:
    failures = 0
    while True:
        before = _size(part)
        try:
            _fetch_some(url, part, progress, timeout)
            return
        except _Fatal as error:
            raise ModelUnavailableError(f"can't fetch {url}: {error}. {way_out}") from error
        except OSError as error:
            if isinstance(error, FileNotFoundError | PermissionError) or error.errno == 28:
                raise ModelUnavailableError(f"can't write {part}: {error}. {way_out}") from error
            reason: Exception = error
        except http.client.HTTPException as error:
            reason = error
        failures = 1 if _size(part) > before else failures + 1
        if failures >= ATTEMPTS:
            raise ModelUnavailableError(
                f"can't fetch {url}: {_reason(reason)}, {ATTEMPTS} times in a row "
                f"({_size(part)} bytes are kept and will be resumed). {way_out}"
            ) from reason
        logger.warning("fetching %s broke off (%s); trying again", url, _reason(reason))
        time.sleep(pause * 2 ** (failures - 1))


def _fetch_some(url: str, part: Path, progress: Progress, timeout: float) -> None:
    """One request; returns when everything is there, raises OSError or HTTPException where it
    broke off.
    """
    have, note = _size(part), _read_note(part, url)
    if have and note is None:  # of another file, or of a server that can't tell versions apart
        part.unlink()
        have = 0
    request = urllib.request.Request(url, headers={"User-Agent": "volseg"})
    if have and note is not None:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", note["version"])
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and error.headers.get("Content-Range", "") == f"bytes */{have}":
                return  # everything was there already
            if error.code == 416:
                part.unlink(missing_ok=True)
                raise ConnectionError("the file has changed on the server") from error
            if error.code in (408, 425, 429) or error.code >= 500:
                raise ConnectionError(f"HTTP {error.code} {error.reason}") from error
            raise _Fatal(f"HTTP {error.code} {error.reason}") from error
    with response:
        resumed = response.status == 206 and _starts_at(response, have)
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else 0
        if not resumed:
            _write_note(part, url, response)
        with part.open("ab" if resumed else "wb") as stream:
            while piece := response.read(PIECE):
                stream.write(piece)
                have += len(piece)
                progress("fetch", have, max(total, have))
    if total and have < total:
        raise ConnectionError(f"the connection closed after {have} of {total} bytes")


def _starts_at(response: Any, have: int) -> bool:
    return str(response.headers.get("Content-Range", "")).startswith(f"bytes {have}-")


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", None)
    return str(inner or error) or type(error).__name__


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _note(part: Path) -> Path:
    """What the bytes in `part` are a beginning of: URL and version (ETag or date) as the server
    told them.
    """
    return part.with_name(part.name + ".json")


def _write_note(part: Path, url: str, response: Any) -> None:
    etag = response.headers.get("ETag")
    strong = etag if etag and not etag.startswith("W/") else None
    version = strong or response.headers.get("Last-Modified")
    if version:
        _note(part).write_text(json.dumps({"url": url, "version": version}))
    else:
        _note(part).unlink(missing_ok=True)


def _read_note(part: Path, url: str) -> dict[str, str] | None:
    try:
        note = json.loads(_note(part).read_text())
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) and note.get("url") == url else None
