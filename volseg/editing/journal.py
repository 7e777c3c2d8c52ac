"""The journal of one label image: numbered records, their parts, the checkpoint and the sessions, on any store.

Numbers are given by conditional create, without gaps; a numbered record is never changed. Nothing here touches chunks.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from hashlib import blake2b
from threading import Lock

from volseg.editing.deltas import Delta
from volseg.editing.packs import PACK, decode_pack, encode_pack, pack_key
from volseg.editing.record import PartBytes, PartRef, Record, decode_record, encode_record
from volseg.errors import (
    AlreadyWrittenError,
    ChangedError,
    GoneError,
    NoListingError,
    NotThereError,
    UnsupportedFormatError,
)
from volseg.storage.objects import Store

FOLDER = "volseg/journal"
GROUP = 1000  # records per folder: one listing shows whether there is something new
PART_BYTES = 4 * 2**20
INLINE_BYTES = 2**20  # an operation with more than this is written as parts before its record
_DIGEST = 16
_CACHED_PARTS = 8
_THREADS = 8
_FEW = 8  # records that are read one by one rather than with their pack


class Journal:
    """Records of one label image.

    Parameters
    ----------
    store
        The label image's store (``.../labels/cells``).
    """

    def __init__(self, store: Store) -> None:
        self.store = store.sub(FOLDER)
        self._group = store
        self._parts: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

    # --- records

    def create(self, record: Record, number: int) -> Record | None:
        """Put a record into the journal under a number.

        Returns
        -------
        taken
            None where the number is now this record's (also where an earlier, unanswered attempt got it);
            else the record of somebody else that has it.
        """
        try:
            self.store.put_new(_key(number), encode_record(record))
        except AlreadyWrittenError:
            there = self.read(number)
            if there is None:
                raise NotThereError(
                    f"{self.store.location}/{_key(number)} exists and can't be read; try again"
                ) from None
            return None if there.uuid == record.uuid else there
        return None

    def check_there(self, number: int) -> None:
        """Raise GoneError if the label image, or the record that is thought to be its newest, is not there any more.

        Costs a request; without it a label image that was moved would be written to at its old place, and one that
        was replaced would get records that its journal has no beginning of.
        """
        keys = [_key(number)] if number else ["zarr.json", ".zattrs"]
        store = self.store if number else self._group
        if not any(store.exists(key) for key in keys):
            raise GoneError(
                f"{self._group.location} is gone, or another label image lies there: it was moved, deleted or replaced "
                "while it was open; put it back, or open it where it is now"
            )

    def read(self, number: int) -> Record | None:
        """Return a record by its number, None if there is none."""
        data = self.store.get_or_none(_key(number))
        if data is None:
            return None
        where = f"{self.store.location}/{_key(number)}"
        return decode_record(data, self.fetch, where=where, number=number)

    def after(self, number: int) -> list[Record]:
        """Return all records after a number, in order. Costs one request where there is none."""
        first = self.read(number + 1)
        if first is None:
            return []
        second = self.read(number + 2)
        if second is None:
            return [first]
        last = self.last(number + 2)
        found = [first, second, *self.between(number + 3, last)]
        if len(found) < last - number:
            numbers = {record.number for record in found}
            wanted = next(n for n in range(number + 1, last + 1) if n not in numbers)
            raise UnsupportedFormatError(
                f"{self.store.location}: record {wanted} is listed, but can't be read; "
                "the journal is damaged: restore that object"
            )
        return found

    def last(self, known: int = 0) -> int:
        """Return the newest number, 0 for an empty journal, by listing (one request per 1,000 records).

        Where the place can't list, by asking for one record after the other, in steps that double.

        Parameters
        ----------
        known
            A number that surely exists, to start from; 0 to look at everything.
        """
        try:
            return self._last_listed(known)
        except NoListingError:
            return self._last_found(known)

    def _last_found(self, known: int) -> int:
        """Return the newest number from single requests: numbers have no gaps."""
        step = 1
        while self.store.exists(_key(known + step)):
            step *= 2
        low, high = known + step // 2, known + step  # `low` is there (or `known`), `high` is not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.store.exists(_key(middle)) else (low, middle)
        return low

    def _last_listed(self, known: int) -> int:
        groups = self.store.list_names("records") if known == 0 else []
        group = int(groups[-1]) if groups else known // GROUP
        while True:
            keys = [stat.key for stat in self.store.list(f"records/{group:09d}")]
            if not keys:
                return known
            known = max(known, int(keys[-1].rpartition("/")[2]))
            if known % GROUP != GROUP - 1:
                return known
            group += 1

    def all(self) -> Iterator[Record]:
        """Yield every record from the first on."""
        yield from self.between(1, self.last())

    def between(self, first: int, last: int) -> Iterator[Record]:
        """Yield the records `first` to `last` (both included) in order, reading ahead.

        Costs one request per hundred records where there are packs, else one per record.
        """
        spans = _spans(first, last)
        with ThreadPoolExecutor(_THREADS) as pool:
            for start in range(0, len(spans), 4 * _THREADS):
                for records in pool.map(self._read_span, spans[start : start + 4 * _THREADS]):
                    yield from records

    def _read_span(self, span: range) -> list[Record]:
        pack = (span.start - 1) // PACK
        key = pack_key(pack)
        data = self.store.get_or_none(key) if len(span) > 1 else None
        if data is None:
            return [found for found in map(self.read, span) if found is not None]
        where = f"{self.store.location}/{key}"
        packed = decode_pack(data, where)
        return [
            decode_record(packed[n], self.fetch, where=f"{where}, record {n}", number=n)
            for n in span
        ]

    def pack(self, first: int, last: int) -> None:
        """Copy the records of every pack that ends between two numbers into it, unless that was done."""
        for pack in range((first - 1) // PACK, last // PACK):
            if self.store.exists(pack_key(pack)):
                continue
            numbers = range(pack * PACK + 1, (pack + 1) * PACK + 1)
            with ThreadPoolExecutor(_THREADS) as pool:
                bodies = list(pool.map(lambda number: self.store.get(_key(number)), numbers))
            with suppress(AlreadyWrittenError):
                self.store.put_new(
                    pack_key(pack), encode_pack(dict(zip(numbers, bodies, strict=True)))
                )

    # --- parts of large records

    def store_parts(
        self, uuid: str, deltas: Sequence[Delta], first: int
    ) -> tuple[list[Delta], int]:
        """Write coded voxels ahead of their record and return deltas that refer to them.

        Parameters
        ----------
        uuid
            Name of the operation.
        deltas
            What to write; those that lie in parts already are passed through.
        first
            Number of this operation's next part.

        Returns
        -------
        deltas
            The same, referring to the parts.
        next
            Number of the part after these.
        """
        result: list[Delta] = []
        waiting: list[int] = []
        body = bytearray()

        def write(number: int) -> None:
            key = f"parts/{uuid}/{number:06d}"
            data = bytes(body)
            digest = blake2b(data, digest_size=_DIGEST).digest()
            self.store.put(key, data + digest, durable=True)  # a durable record will name it
            offset = 0
            for at in waiting:
                length = len(result[at].raw)
                ref = PartRef(key, offset, length)
                result[at] = replace(result[at], data=PartBytes(self.fetch, ref))
                offset += length

        for delta in deltas:
            result.append(delta)
            if isinstance(delta.data, PartBytes):
                continue
            waiting.append(len(result) - 1)
            body += delta.raw
            if len(body) >= PART_BYTES:
                write(first)
                first, waiting, body = first + 1, [], bytearray()
        if waiting:
            write(first)
            first += 1
        return result, first

    def fetch(self, ref: PartRef) -> bytes:
        """Return the bytes of a delta that lie in a part."""
        with self._lock:
            body = self._parts.get(ref.key)
            if body is not None:
                self._parts.move_to_end(ref.key)
        if body is None:
            data = self.store.get(ref.key)
            body, digest = data[:-_DIGEST], data[-_DIGEST:]
            if blake2b(body, digest_size=_DIGEST).digest() != digest:
                raise UnsupportedFormatError(
                    f"{self.store.location}/{ref.key}: part of an edit record is damaged; restore it"
                )
            with self._lock:
                self._parts[ref.key] = body
                while len(self._parts) > _CACHED_PARTS:
                    self._parts.popitem(last=False)
        return body[ref.offset : ref.offset + ref.length]

    # --- checkpoint

    def checkpoint(self) -> int:
        """Return the number up to which all chunks hold everything."""
        data = self.store.get_or_none("checkpoint")
        return 0 if data is None else int(json.loads(data)["number"])

    def set_checkpoint(self, number: int) -> None:
        """Raise the checkpoint; it never goes back."""
        data = json.dumps({"number": number, "time": time.time()}).encode()
        while True:
            found = self.store.get_with_etag("checkpoint")
            if found is not None and int(json.loads(found[0])["number"]) >= number:
                return
            try:
                if found is None:
                    self.store.put_new("checkpoint", data)
                else:
                    self.store.put_if("checkpoint", data, found[1])
                return
            except (AlreadyWrittenError, ChangedError):
                continue


def _spans(first: int, last: int) -> list[range]:
    """Cut a range of numbers into ends of packs and single records."""
    spans: list[range] = []
    number = first
    while number <= last:
        end = (number - 1) // PACK * PACK + PACK
        stop = end if end <= last and end - number >= _FEW else number
        spans.append(range(number, stop + 1))
        number = stop + 1
    return spans


def _key(number: int) -> str:
    return f"records/{number // GROUP:09d}/{number:012d}"
