"""The metadata client against a service that insists on version 2 of the protocol."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.fake_metadata import Service, make_service
from volseg.cloud.metadata import Metadata


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps({"instance-id": "i-0abc", "placement/region": "eu-west-1"}))
    service = make_service("127.0.0.1", 0, answers)
    thread = threading.Thread(target=service.serve_forever, daemon=True)
    thread.start()
    yield service
    service.shutdown()
    service.server_close()
    thread.join()


@pytest.fixture
def metadata(service: Service, monkeypatch: pytest.MonkeyPatch) -> Metadata:
    address = f"http://127.0.0.1:{service.server_address[1]}"
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", address)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # must not be used
    return Metadata()


def test_says_who_and_where(metadata: Metadata) -> None:
    assert metadata.instance_id() == "i-0abc"
    assert metadata.region() == "eu-west-1"


def test_asks_for_a_new_session_when_the_old_one_has_expired(
    metadata: Metadata, service: Service
) -> None:
    metadata.instance_id()
    service.tokens.clear()
    assert metadata.instance_id() == "i-0abc"
    assert len(service.tokens) == 1


@pytest.mark.parametrize(
    ("path", "answer", "why"),
    [
        ("spot/instance-action", '{"action": "terminate", "time": "2026-11-20T10:00:00Z"}', "spot"),
        ("spot/instance-action", '{"action": "stop", "time": "2026-11-20T10:00:00Z"}', "spot"),
        ("autoscaling/target-lifecycle-state", "Terminated", "scale-in"),
        ("autoscaling/target-lifecycle-state", "InService", None),
        ("other", "x", None),
    ],
)
def test_tells_why_the_host_will_be_taken_away(
    metadata: Metadata, service: Service, path: str, answer: str, why: str | None
) -> None:
    service.answers.write_text(json.dumps({path: answer}))
    assert metadata.notice() == why


def test_a_silent_service_announces_nothing() -> None:
    nobody = Metadata("http://127.0.0.1:9", timeout_s=0.5)
    assert nobody.notice() is None
    with pytest.raises(OSError, match="refused"):
        nobody.instance_id()
