"""A store that fails now and then: requests are repeated, and a lost answer is not taken for a refusal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.s3_server import S3Server
from tests.storage.faulty_proxy import FaultyProxy, faulty_proxy
from volseg.errors import AlreadyWrittenError, ChangedError, StorageError
from volseg.storage import Store


@pytest.fixture
def proxy(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, s3_url: str
) -> Iterator[FaultyProxy]:
    monkeypatch.setattr("volseg.storage.remote.FIRST_PAUSE_S", 0.01)
    with faulty_proxy(s3_server.endpoint) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.endpoint)
        yield running


@pytest.fixture
def store(proxy: FaultyProxy, s3_url: str) -> Store:
    return Store(f"{s3_url}/place")


@pytest.mark.parametrize("faults", [["refuse"], ["refuse", "refuse"]])
def test_refused_requests_are_repeated(store: Store, proxy: FaultyProxy, faults: list[str]) -> None:
    proxy.faults = {method: list(faults) for method in ("PUT", "GET", "HEAD", "POST")}
    etag = store.put("k", b"1")
    assert store.get_with_etag("k") == (b"1", etag)
    assert store.head("k") is not None
    etag = store.put_if("k", b"2", etag)
    store.put_new("n", b"1")
    assert [stat.key for stat in store.list()] == ["k", "n"]
    store.delete("k")
    assert not store.exists("k")
    assert len(proxy.met) >= 4


def test_a_creation_whose_answer_was_lost_succeeds(store: Store, proxy: FaultyProxy) -> None:
    proxy.faults = {"PUT": ["lose"]}
    etag = store.put_new("k", b"mine")
    assert proxy.met == ["lose"]
    assert store.get_with_etag("k") == (b"mine", etag)
    with pytest.raises(AlreadyWrittenError):
        store.put_new("k", b"mine")


def test_an_update_whose_answer_was_lost_succeeds(store: Store, proxy: FaultyProxy) -> None:
    etag = store.put("k", b"1")
    proxy.faults = {"PUT": ["lose"]}
    etag = store.put_if("k", b"2", etag)
    assert store.get_with_etag("k") == (b"2", etag)


def test_a_refused_creation_that_another_one_overtakes_is_told(
    store: Store, proxy: FaultyProxy, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", s3_server.endpoint)
        other = Store(store.location)
    first = other.put("k", b"theirs")
    proxy.faults = {"PUT": ["refuse"]}
    with pytest.raises(AlreadyWrittenError):
        store.put_new("k", b"mine")
    other.put("k", b"changed")
    proxy.faults = {"PUT": ["refuse"]}
    with pytest.raises(ChangedError):
        store.put_if("k", b"mine", first)
    assert store.get("k") == b"changed"


def test_a_store_that_stays_down_is_told(
    store: Store, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("volseg.storage.remote.ATTEMPTS", 2)
    proxy.faults = {"PUT": ["refuse"] * 100}
    with pytest.raises(StorageError, match="past its retries"):
        store.put_new("k", b"")
    assert len(proxy.met) == 3
