"""What `Store` promises, the same on a folder and on S3."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from volseg.errors import (
    AlreadyWrittenError,
    ChangedError,
    InputError,
    NameRefusedError,
    NotThereError,
)
from volseg.storage import Store, digest, open_store


@pytest.fixture
def store(work_url: str) -> Store:
    return open_store(work_url + "/place", create=True)


def test_what_was_put_is_read_with_its_tag(store: Store) -> None:
    etag = store.put("a/b", b"one")
    assert store.get("a/b") == b"one"
    assert store.get_with_etag("a/b") == (b"one", etag)
    stat = store.head("a/b")
    assert stat is not None
    assert (stat.key, stat.size, stat.etag) == ("a/b", 3, etag)
    assert abs((datetime.now(UTC) - stat.modified).total_seconds()) < 60
    assert store.put("a/b", b"two") != etag
    assert store.get("a/b") == b"two"


def test_missing_objects(store: Store) -> None:
    assert store.get_or_none("no") is None
    assert store.get_with_etag("no") is None
    assert store.head("no") is None
    assert not store.exists("no")
    with pytest.raises(NotThereError, match="no does not exist"):
        store.get("no")
    store.delete("no")
    store.delete_all("no")


def test_a_group_is_no_object(store: Store) -> None:
    store.put("group/object", b"1")
    assert not store.exists("group")
    assert store.get_or_none("group") is None


def test_create_only_once(store: Store) -> None:
    etag = store.put_new("claim", b"mine")
    with pytest.raises(AlreadyWrittenError, match="claim"):
        store.put_new("claim", b"yours")
    assert store.get_with_etag("claim") == (b"mine", etag)


def test_of_many_creators_one_wins(store: Store) -> None:
    def claim(number: int) -> bool:
        try:
            store.put_new("claim", str(number).encode())
        except AlreadyWrittenError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(claim, range(8)))
    assert won.count(True) == 1
    assert store.get("claim") == str(won.index(True)).encode()


def test_update_only_what_was_read(store: Store) -> None:
    with pytest.raises(ChangedError):
        store.put_if("x", b"0", '"none"')
    first = store.put("x", b"1")
    second = store.put_if("x", b"2", first)
    with pytest.raises(ChangedError, match="x"):
        store.put_if("x", b"3", first)
    assert store.get_with_etag("x") == (b"2", second)
    store.delete("x")
    with pytest.raises(ChangedError):
        store.put_if("x", b"3", second)


def test_concurrent_updates_lose_nothing(store: Store) -> None:
    store.put("counter", b"0")

    def add(_: int) -> None:
        while True:
            found = store.get_with_etag("counter")
            assert found is not None
            try:
                store.put_if("counter", str(int(found[0]) + 1).encode(), found[1])
            except ChangedError:
                continue
            return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(24)))
    assert store.get("counter") == b"24"


def test_listings_are_sorted_and_by_whole_components(store: Store) -> None:
    keys = ["a/1", "a/b/2", "a-x", "a.x", "ab/3", "z"]
    for key in reversed(keys):
        store.put(key, key.encode())
    assert [stat.key for stat in store.list()] == sorted(keys)
    assert [stat.key for stat in store.list("a")] == ["a/1", "a/b/2"]
    assert store.list_names() == ["a", "a-x", "a.x", "ab", "z"]
    assert store.list_names("a") == ["1", "b"]
    assert store.list_names("nothing") == []
    assert list(store.list("nothing")) == []


def test_delete_all_below_a_prefix(store: Store) -> None:
    for key in ("a/1", "a/b/2", "ab"):
        store.put(key, b"")
    store.delete_all("a")
    assert [stat.key for stat in store.list()] == ["ab"]
    store.delete_all()
    assert store.is_empty()


def test_sub_store_is_below(store: Store) -> None:
    below = store.sub("a/b")
    below.put("c", b"1")
    assert store.get("a/b/c") == b"1"
    assert [stat.key for stat in below.list()] == ["c"]


def test_pickles_by_url_without_credentials(store: Store) -> None:
    store.put("k", b"v")
    pickled = pickle.dumps(store)
    assert b"secret" not in pickled.lower()
    again = pickle.loads(pickled)
    assert again == store
    assert again.get("k") == b"v"


@pytest.mark.parametrize("key", ["", "/", "../x", "a/../../x", "a//b", "./a", "a\\b", "a\nb", "a/"])
def test_keys_stay_below_the_root(store: Store, key: str) -> None:
    for operation in (store.get, store.head, store.delete, store.sub):
        with pytest.raises(NameRefusedError):
            operation(key)
    with pytest.raises(NameRefusedError):
        store.put(key, b"")


def test_read_only_refuses_writes(store: Store) -> None:
    store.put("k", b"v")
    reader = open_store(store.location, read_only=True)
    assert reader.get("k") == b"v"
    for write in (
        lambda: reader.put("k", b""),
        lambda: reader.put_new("n", b""),
        lambda: reader.put_if("k", b"", "x"),
        lambda: reader.delete("k"),
        lambda: reader.delete_all(),
    ):
        with pytest.raises(InputError, match="read only"):
            write()


def test_zarr_view_is_the_same_place_and_pickles(store: Store) -> None:
    import numpy as np
    import zarr

    view = store.sub("array").zarr()
    array = zarr.create_array(view, shape=(5, 6), chunks=(2, 3), dtype="u4")
    array[:] = np.arange(30).reshape(5, 6)
    assert store.exists("array/zarr.json")
    again = zarr.open_array(pickle.loads(pickle.dumps(view)), mode="r")
    np.testing.assert_array_equal(again[:], np.arange(30).reshape(5, 6))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again))[1:3], again[1:3])


def test_digest_is_of_content() -> None:
    assert digest(b"a") == digest(b"a") != digest(b"b")
    assert len(digest(b"")) == 32
