"""The journal: however long it is, it is read in few requests, and packs are never more than copies."""

from __future__ import annotations

import pytest

from tests.editing.making import make_labels
from volseg.editing import journal as journal_room
from volseg.editing import packs
from volseg.editing.index import JournalIndex
from volseg.editing.journal import Journal
from volseg.errors import UnsupportedFormatError
from volseg.images.labels import Labels
from volseg.storage import Store


@pytest.fixture
def gets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Packs of ten records, and the keys that are read."""
    for room in (packs, journal_room):
        monkeypatch.setattr(room, "PACK", 10)
    monkeypatch.setattr(journal_room, "_FEW", 2)
    read: list[str] = []
    real = Store.get_with_etag

    def counted(self: Store, key: str) -> tuple[bytes, str] | None:
        read.append(key)
        return real(self, key)

    monkeypatch.setattr(Store, "get_with_etag", counted)
    return read


def edited(url: str, records: int) -> Labels:
    labels = make_labels(url, (2, 20, 20), chunks=(2, 20, 20), levels=1)
    with labels.edit("ann", flush_after=None) as editor:
        for number in range(records):
            editor[0, number // 20, number % 20] = number + 1
            editor.flush()
    return labels


def test_a_long_journal_is_read_in_few_requests(folder: str, gets: list[str]) -> None:
    labels = edited(folder, 47)
    assert Store(labels.store.location).sub("volseg/journal").list_names("packs") == [
        "000000000", "000000001", "000000002", "000000003",
    ]  # fmt: skip
    journal = Journal(labels.store)
    for after in (0, 5, 9, 10, 38):
        gets.clear()
        assert [record.number for record in journal.after(after)] == list(range(after + 1, 48))
        assert len(gets) <= 2 + 5 + 10
    gets.clear()
    index = JournalIndex(labels)
    assert index.last == 47 and len(gets) <= 2 + 4 + 7 + 2
    assert [record.uuid for record in index.records] == [journal.read(n).uuid for n in range(1, 48)]  # type: ignore[union-attr]


def test_packs_are_copies_that_may_go(folder: str, gets: list[str]) -> None:
    labels = edited(folder, 25)
    journal = Journal(labels.store)
    before = [record.uuid for record in journal.all()]
    journal.store.delete("packs/000000001")
    assert [record.uuid for record in journal.all()] == before
    journal.pack(1, 25)
    assert journal.store.list_names("packs") == ["000000000", "000000001"]


def test_a_damaged_pack_is_told(folder: str, gets: list[str]) -> None:
    labels = edited(folder, 12)
    journal = Journal(labels.store)
    data = journal.store.get("packs/000000000")
    journal.store.put("packs/000000000", data[:40] + b"?" + data[41:])
    with pytest.raises(UnsupportedFormatError, match="delete it"):
        journal.after(0)


def test_a_missing_record_is_told(folder: str, gets: list[str]) -> None:
    labels = edited(folder, 9)
    journal = Journal(labels.store)
    journal.store.delete("records/000000000/000000000004")
    with pytest.raises(UnsupportedFormatError, match="record 4 is listed"):
        journal.after(0)
