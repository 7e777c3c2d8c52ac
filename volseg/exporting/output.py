"""Where an export goes: written under a temporary name, checked, hashed, then put in its place.

Nothing that looks finished is ever left by an export that was interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volseg.errors import ExistsError, InputError, StorageFullError
from volseg.exporting.digest import sha256_of
from volseg.store import Location, open_store, parse_url

PARTIAL = ".volseg-partial-"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote.

    Attributes
    ----------
    paths
        Every file, without the manifest; for a target on a store, its URLs.
    manifest
        Where the manifest with the SHA-256 of each file is.
    """

    paths: tuple[Path | str, ...]
    manifest: Path | str


class Output:
    """A target, and the temporary place beside it that becomes it.

    Parameters
    ----------
    out : path or URL
        Of the file, or of the folder.
    folder : bool
        Whether the export is a folder of files.
    overwrite : bool
        Replace what is there (a folder only if an export made it).
    beside : str, optional
        Name of a folder that the export of a file makes beside it; it has a manifest of its own.

    Raises
    ------
    ExistsError, InputError
        If the target can't be written.
    """

    def __init__(
        self,
        out: str | os.PathLike[str],
        *,
        folder: bool,
        overwrite: bool,
        beside: str | None = None,
    ) -> None:
        self.target: Location = parse_url(os.fspath(out))
        self._beside = beside
        self.folder, self._overwrite = folder, overwrite
        self._local = self.target.local_path
        self._check()
        if self._local is None:
            self._holder = Path(tempfile.mkdtemp(prefix="volseg-export-"))
            self.work = self._holder / self.target.name
        else:
            self._local.parent.mkdir(parents=True, exist_ok=True)
            name = f"{PARTIAL}{uuid.uuid4().hex[:12]}"
            self._holder = self._local.parent / name
            self.work = self._holder / self._local.name
            self._holder.mkdir()
        if folder:
            self.work.mkdir()

    def _check(self) -> None:
        if self.target.scheme not in ("file", "s3"):
            raise InputError(f"{self.target}: web addresses are read only; export to a file or S3")
        if self._local is None:
            parent, _, _ = self.target.url.rpartition("/")
            found = open_store(parse_url(parent)).list_names()
            if {self.target.name, self._beside} & set(found) and not self._overwrite:
                raise self._exists()
            return
        if self._beside is not None and (self._local.parent / self._beside).exists():
            self._check_folder(self._local.parent / self._beside)
        if self._local.is_dir():
            if not self.folder:
                raise ExistsError(f"{self._local} is a folder; give the name of a file in it")
            self._check_folder(self._local)
        elif self._local.exists():
            if self.folder:
                raise InputError(f"{self._local} is a file; this export makes a folder")
            if not self._overwrite:
                raise self._exists()

    def _check_folder(self, folder: Path) -> None:
        """Refuse a folder that is not empty, unless an export made it and it may be overwritten."""
        if not folder.is_dir():
            raise InputError(f"{folder} is a file; this export makes a folder of that name")
        if any(folder.iterdir()):
            if not self._overwrite:
                raise ExistsError(f"{folder} exists already; choose another place, or --overwrite")
            if not (folder / MANIFEST).exists():
                raise InputError(
                    f"{folder}: not a folder that an export made; it is not overwritten. "
                    "Choose another one"
                )

    def _exists(self) -> ExistsError:
        return ExistsError(f"{self.target} exists already; choose another place, or --overwrite")

    def commit(self, provenance: dict[str, Any], digests: dict[str, str]) -> ExportResult:
        """Hash the files, write the manifest, and put everything in its place.

        Parameters
        ----------
        provenance : dict
        digests : dict
            SHA-256 of files (relative names) that are known already.
        """
        names = sorted(
            str(path.relative_to(self._holder))
            for path in self._holder.rglob("*")
            if path.is_file()
        )
        files = [
            {
                "name": name.partition("/")[2] if self.folder else name,
                "bytes": (self._holder / name).stat().st_size,
                "sha256": digests.get(name) or sha256_of(self._holder / name),
            }
            for name in names
        ]
        manifest = {"format": "volseg-export", "version": 1, "files": files, **provenance}
        text = json.dumps(manifest, indent=2, ensure_ascii=False).encode()
        inner = f"{self.work.name}/{MANIFEST}" if self.folder else f"{self.work.name}.{MANIFEST}"
        (self._holder / inner).write_bytes(text)
        return self._upload(names, inner) if self._local is None else self._rename(names, inner)

    def _rename(self, names: list[str], manifest: str) -> ExportResult:
        assert self._local is not None
        parent = self._local.parent
        if self.folder:
            if self._local.exists():
                old = self._holder / "replaced"
                os.replace(self._local, old)
            os.replace(self.work, self._local)
        else:
            _sync(self.work)
            if self._beside is not None and (parent / self._beside).exists():
                os.replace(parent / self._beside, self._holder / "replaced")
            for name in dict.fromkeys(name.partition("/")[0] for name in [*names, manifest]):
                os.replace(self._holder / name, parent / name)
        _sync(parent)
        return ExportResult(tuple(parent / name for name in names), parent / manifest)

    def _upload(self, names: list[str], manifest: str) -> ExportResult:
        import obstore

        from volseg.store.failures import translated
        from volseg.store.remote import open_obstore

        base = self.target.url.rpartition("/")[0]
        store: Any = open_obstore(parse_url(base))
        if (old := self.target.name if self.folder else self._beside) and self._overwrite:
            open_store(parse_url(base)).delete_all(old)
        done: list[str] = []
        try:
            for name in [*names, manifest]:
                with translated(parse_url(base), name):
                    obstore.put(store, name, self._holder / name)
                done.append(name)
        except BaseException:
            with contextlib.suppress(Exception):
                obstore.delete(store, done)
            raise
        return ExportResult(tuple(f"{base}/{name}" for name in names), f"{base}/{manifest}")

    def discard(self) -> None:
        """Remove the temporary place."""
        shutil.rmtree(self._holder, ignore_errors=True)


@contextmanager
def opened_output(
    out: str | os.PathLike[str], *, folder: bool, overwrite: bool, beside: str | None = None
) -> Iterator[Output]:
    """An `Output` whose temporary place is removed in any case.

    Raises
    ------
    StorageFullError
        If the disk is full.
    """
    output = Output(out, folder=folder, overwrite=overwrite, beside=beside)
    try:
        yield output
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError(
                f"{output.target}: no space left; free some or export elsewhere"
            ) from error
        raise
    finally:
        output.discard()


def _sync(path: Path) -> None:
    """Make a file or a folder's entries durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
