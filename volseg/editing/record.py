"""The journal's records and operations, and their bytes.

A record is what one flush made durable: the operations (strokes, merges, undos …) of one session, in order.
"""

from __future__ import annotations

import json
import time as clock
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import numpy as np
from numcodecs.zstd import compress

from volseg.editing.deltas import Delta, checksum
from volseg.errors import UnsupportedFormatError
from volseg.geometry import Triple
from volseg.images.record_header import (
    DIGEST_BYTES,
    FORMAT,
    LENGTH,
    MAGIC,
    VERSION,
    read_header,
)


@dataclass(frozen=True)
class Operation:
    """One step that a person can undo, or one segmentation run.

    Parameters
    ----------
    kind
        "paint", "fill", "merge", "undo", "segment" …
    deltas
        Changed voxels, one per chunk and time.
    uuid
        Own name.
    time
        Seconds since 1970 at which it was made.
    root, inverts
        An undo or redo names the operation at the start of its chain, and the one that it takes back.
    classes
        Changed classes: id to (old, new), None for no class.
    counts
        By how many voxels each id grew or shrank.
    details
        For people and programs: what was merged, which plan ran. JSON values only.
    run
        For a segmentation run: plan, tracks, region, whether it overwrites edits. A run has no deltas.
    """

    kind: str
    deltas: tuple[Delta, ...] = ()
    uuid: str = field(default_factory=lambda: uuid.uuid4().hex)
    time: float = field(default_factory=clock.time)
    root: str = ""
    inverts: str | None = None
    classes: Mapping[int, tuple[str | None, str | None]] = field(default_factory=dict)
    counts: Mapping[int, int] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] | None = None

    @property
    def chain(self) -> str:
        """The name of the operation that this one is, undoes or redoes."""
        return self.root or self.uuid

    @property
    def of(self) -> str:
        """What a person did: the kind of this operation, or of the one that it undoes or redoes."""
        return str(self.details.get("of", self.kind))

    @property
    def done(self) -> bool:
        """False for an undo."""
        return self.kind != "undo"

    @property
    def voxels(self) -> int:
        """Number of changed voxels."""
        return sum(delta.count for delta in self.deltas)

    def inverse(self) -> Operation:
        """Return the operation that takes this one back."""
        return Operation(
            kind="redo" if self.kind == "undo" else "undo",
            deltas=tuple(delta.inverse() for delta in self.deltas),
            root=self.chain,
            inverts=self.uuid,
            classes={label: (new, old) for label, (old, new) in self.classes.items()},
            counts={label: -number for label, number in self.counts.items()},
            details={**self.details, "of": self.of},
        )


@dataclass(frozen=True)
class Record:
    """What stands in the journal under one number.

    Parameters
    ----------
    annotator, session
        Who, and in which editing session.
    base
        Number of the newest record that the author knew.
    operations
        In the order in which they were made.
    shape, chunks, dtype
        Level-0 grid that the deltas refer to (z, y, x).
    number
        0 until it is in the journal.
    where
        URL of the label image, in copies that lie elsewhere.
    """

    annotator: str
    session: str
    base: int
    operations: tuple[Operation, ...]
    shape: Triple
    chunks: Triple
    dtype: np.dtype
    uuid: str = field(default_factory=lambda: uuid.uuid4().hex)
    time: float = field(default_factory=clock.time)
    number: int = 0
    where: str = ""

    @property
    def deltas(self) -> Iterable[Delta]:
        """Every delta of every operation, in order."""
        return (delta for operation in self.operations for delta in operation.deltas)

    def numbered(self, number: int) -> Record:
        """Return the record under its number in the journal."""
        return replace(self, number=number)


@dataclass(frozen=True)
class PartRef:
    """Where the bytes of a delta lie when they are not in the record itself."""

    key: str
    offset: int
    length: int


@dataclass(frozen=True)
class PartBytes:
    """The bytes of a delta that were written as (a piece of) a part before their record; call to fetch."""

    fetch: Callable[[PartRef], bytes]
    ref: PartRef

    def __call__(self) -> bytes:
        """Fetch the bytes."""
        return self.fetch(self.ref)


def encode_record(record: Record) -> bytes:
    """Return the bytes of a record; deltas that lie in parts are referred to."""
    body = bytearray()
    operations = [_operation_header(operation, body) for operation in record.operations]
    header = {
        "format": FORMAT,
        "version": VERSION,
        "uuid": record.uuid,
        "annotator": record.annotator,
        "session": record.session,
        "time": record.time,
        "base": record.base,
        "shape": record.shape,
        "chunks": record.chunks,
        "dtype": record.dtype.str,
        "operations": operations,
    }
    if record.where:
        header["where"] = record.where
    packed = compress(json.dumps(header, separators=(",", ":")).encode(), 3)
    data = b"".join((MAGIC, LENGTH.pack(len(packed)), packed, bytes(body)))
    return data + blake2b(data, digest_size=DIGEST_BYTES).digest()


def decode_record(
    data: bytes, fetch: Callable[[PartRef], bytes], *, where: str, number: int = 0
) -> Record:
    """Read a record from its bytes.

    Parameters
    ----------
    data
        The bytes.
    fetch
        Reads the bytes of a delta that lie in a part of their own.
    where
        Place of the record, for messages.
    number
        Its number in the journal.

    Raises
    ------
    UnsupportedFormatError
        If the bytes are damaged or of a later format.
    """
    header, body = read_header(data, where)
    dtype = np.dtype(header["dtype"])
    return Record(
        annotator=header["annotator"],
        session=header["session"],
        base=header["base"],
        operations=tuple(_operation(op, dtype, body, fetch, where) for op in header["operations"]),
        shape=_triple(header["shape"]),
        chunks=_triple(header["chunks"]),
        dtype=dtype,
        uuid=header["uuid"],
        time=header["time"],
        number=number,
        where=header.get("where", ""),
    )


def _operation_header(operation: Operation, body: bytearray) -> dict[str, Any]:
    keys: dict[str, int] = {}
    rows = []
    for delta in operation.deltas:
        if isinstance(delta.data, PartBytes):
            ref, crc = delta.data.ref, 0  # the part has a digest of its own
        else:
            raw = delta.raw
            ref, crc = PartRef("", len(body), len(raw)), checksum(raw)
            body += raw
        key = keys.setdefault(ref.key, len(keys))
        place = (delta.time, *delta.origin, *delta.shape, delta.count, int(delta.inverted))
        rows.append([*place, key, ref.offset, ref.length, crc])
    header: dict[str, Any] = {
        "kind": operation.kind,
        "uuid": operation.uuid,
        "time": operation.time,
        "keys": list(keys),
        "deltas": rows,
    }
    if operation.inverts:
        header |= {"root": operation.root, "inverts": operation.inverts}
    if operation.classes:
        header["classes"] = [[label, *pair] for label, pair in operation.classes.items()]
    if operation.counts:
        header["counts"] = list(operation.counts.items())
    if operation.details:
        header["details"] = dict(operation.details)
    if operation.run is not None:
        header["run"] = dict(operation.run)
    return header


def _operation(
    header: Mapping[str, Any],
    dtype: np.dtype,
    body: bytes,
    fetch: Callable[[PartRef], bytes],
    where: str,
) -> Operation:
    deltas = []
    for time, oz, oy, ox, sz, sy, sx, count, inverted, key, offset, length, crc in header["deltas"]:
        name = header["keys"][key]
        data: bytes | Callable[[], bytes]
        if name:
            data = PartBytes(fetch, PartRef(name, offset, length))
        else:
            data = body[offset : offset + length]
            if checksum(data) != crc:
                raise UnsupportedFormatError(f"{where}: the edit record is damaged")
        deltas.append(Delta(time, (oz, oy, ox), (sz, sy, sx), count, dtype, data, bool(inverted)))
    return Operation(
        kind=header["kind"],
        deltas=tuple(deltas),
        uuid=header["uuid"],
        time=header["time"],
        root=header.get("root", ""),
        inverts=header.get("inverts"),
        classes={row[0]: (row[1], row[2]) for row in header.get("classes", ())},
        counts={int(label): number for label, number in header.get("counts", ())},
        details=header.get("details", {}),
        run=header.get("run"),
    )


def _triple(values: Iterable[int]) -> Triple:
    z, y, x = values
    return z, y, x
