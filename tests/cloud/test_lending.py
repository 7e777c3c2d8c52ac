"""Workers lent to a job: a real scheduler and real worker processes; the Auto Scaling group is moto's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import boto3
import pytest
from distributed import Client, LocalCluster
from moto import mock_aws

from tests.cloud.test_worker import SECONDS, until
from volseg.cloud.failures import CloudError
from volseg.cloud.fleet import Capacity, Group, Instance
from volseg.cloud.host import Host
from volseg.cloud.lending import lent_cluster, lent_workers
from volseg.cloud.metadata import Metadata
from volseg.cloud.worker import WorkerSettings
from volseg.errors import InputError

REGION = "eu-west-1"


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    """An empty group of up to three instances."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, REGION)
    with mock_aws():
        scaling = boto3.client("autoscaling")
        image = boto3.client("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        scaling.create_launch_configuration(
            LaunchConfigurationName="workers", ImageId=image, InstanceType="g6.xlarge"
        )
        scaling.create_auto_scaling_group(
            AutoScalingGroupName="lab-workers",
            LaunchConfigurationName="workers",
            MinSize=0,
            MaxSize=3,
            AvailabilityZones=[f"{REGION}a"],
        )
        yield Group("lab")


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Don't wait long for others to close."""
    monkeypatch.setattr("volseg.cloud.lending._CLOSING_S", 1.0)


@pytest.fixture
def client() -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=0,
            processes=False,
            dashboard_address="127.0.0.1:0",
            protocol="tcp://",
            host="127.0.0.1",
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


class Of(Metadata):
    """The metadata service of one instance, which announces nothing."""

    def __init__(self, instance: str) -> None:
        super().__init__()
        self._instance = instance

    def instance_id(self) -> str:
        return self._instance

    def notice(self) -> str | None:
        return None


class Booting:
    """What EC2 does: whatever instance the group has runs a host's workers."""

    def __init__(self, group: Group, scheduler: str, idle_s: float = 0.0) -> None:
        self.left: list[str] = []
        self._group, self._scheduler, self._idle_s = group, scheduler, idle_s
        self._hosts: dict[str, Host] = {}
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._boot, daemon=True)
        self._thread.start()

    def _boot(self) -> None:
        while not self._over.wait(0.1):
            for member in self._group.capacity().members:
                if member.staying and member.instance not in self._hosts:
                    guard = Instance(self._group, Of(member.instance))
                    settings = WorkerSettings(self._scheduler, idle_s=self._idle_s)
                    host = self._hosts[member.instance] = Host(settings, guard=guard)
                    thread = threading.Thread(target=self._run, args=(host,), daemon=True)
                    thread.start()
                    self._threads.append(thread)

    def _run(self, host: Host) -> None:
        self.left.append(host.run())

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        for host in self._hosts.values():
            host.leave("signal")
        for thread in self._threads:
            thread.join(SECONDS)


@pytest.fixture
def booting(group: Group, client: Client) -> Iterator[Booting]:
    started = Booting(group, client.scheduler.address)
    yield started
    started.stop()


def empty(group: Group) -> bool:
    capacity = group.capacity()
    return (capacity.desired, capacity.staying) == (0, 0)


def test_it_asks_waits_and_lets_go(group: Group, client: Client, booting: Booting) -> None:
    said: list[str] = []
    with lent_workers(group, client, 2, at_least=2, say=said.append, look_s=0.1) as there:
        assert there == 2
        assert group.capacity().desired == 2
        assert client.submit(sum, [1, 2]).result(timeout=SECONDS) == 3
    assert said, "nobody was told what is waited for"
    assert said[0] == "0 workers of 2 there, 2 instances started"
    until(lambda: empty(group), "both instances' end")
    until(lambda: booting.left == ["idle", "idle"], "both hosts' end")


def test_it_lets_go_when_the_job_fails(group: Group, client: Client, booting: Booting) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        lent_workers(group, client, 1, look_s=0.1),
    ):
        client.submit(lambda: 1 / 0).result(timeout=SECONDS)
    until(lambda: empty(group), "the instance's end")


def test_what_others_use_stays(group: Group, client: Client, booting: Booting) -> None:
    other = Client(client.scheduler.address, set_as_default=False)
    with other, lent_workers(group, client, 1, look_s=0.1):
        running = other.submit(time.sleep, 0.1)
    until(running.done, "the other's task")
    time.sleep(0.5)
    assert group.capacity().staying == 1, "taken away from somebody who is connected"


def test_the_last_of_two_jobs_lets_go(group: Group, client: Client, booting: Booting) -> None:
    second = Client(client.scheduler.address, set_as_default=False)
    with second, lent_workers(group, second, 1, look_s=0.1):
        with lent_workers(group, client, 1, look_s=0.1):
            pass
        assert second.submit(sum, [1, 2]).result(timeout=SECONDS) == 3
        client.close()
    until(lambda: empty(group), "the instance's end")


def test_more_than_others_asked_for_is_asked_but_never_less(
    group: Group, client: Client, booting: Booting
) -> None:
    group.ask_for(2)
    with lent_workers(group, client, 1, look_s=0.1):
        assert group.capacity().desired == 2


class Starved(Group):
    """A group to which AWS gives no instance: the account's quota is zero."""

    def capacity(self) -> Capacity:
        found = super().capacity()
        return Capacity(found.desired, found.most, ())


def test_workers_that_never_come_are_told_and_not_waited_for(group: Group, client: Client) -> None:
    starved = Starved("lab")
    with (
        pytest.raises(CloudError, match=r"0 of 1 workers came within 0 s .*2 asked for.*quota"),
        lent_workers(starved, client, 2, wait_s=0.3, look_s=0.1),
    ):
        pytest.fail("there is no worker")
    assert starved.capacity().desired == 0


def test_more_than_the_group_allows_is_refused(group: Group, client: Client) -> None:
    with (
        pytest.raises(InputError, match=r"4 workers: lab-workers allows 0 to 3"),
        lent_workers(group, client, 4),
    ):
        pytest.fail("there is no worker")
    assert group.capacity().desired == 0


def test_a_killed_job_leaves_its_workers_to_end_themselves(group: Group, client: Client) -> None:
    booting = Booting(group, client.scheduler.address, idle_s=1.0)
    try:
        group.ask_for(2)  # and nobody lets go
        until(lambda: booting.left == ["idle", "idle"], "both hosts' end")
        assert empty(group)
    finally:
        booting.stop()


@pytest.mark.parametrize(
    ("stack", "own", "given"),
    [
        (None, None, None),
        (None, None, "tcp://127.0.0.1:1"),
        ("lab", "tls://10.77.0.10:8786", "local"),
        ("lab", "tls://10.77.0.10:8786", "tcp://127.0.0.1:1"),
        ("lab", None, None),
    ],
)
def test_elsewhere_a_flow_s_cluster_is_what_it_was_given(
    monkeypatch: pytest.MonkeyPatch, stack: str | None, own: str | None, given: str | None
) -> None:
    for name, value in (("VOLSEG_STACK", stack), ("VOLSEG_CLUSTER", own)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    with lent_cluster(given, 4) as address:
        assert address == given


@pytest.mark.parametrize("named", [False, True])
def test_on_the_head_a_flow_s_cluster_is_the_stack_s_with_workers(
    group: Group,
    client: Client,
    booting: Booting,
    monkeypatch: pytest.MonkeyPatch,
    named: bool,
) -> None:
    own = client.scheduler.address
    client.close()
    monkeypatch.setenv("VOLSEG_STACK", "lab")
    monkeypatch.setenv("VOLSEG_CLUSTER", own)
    with lent_cluster(own if named else None) as address:
        assert address == own
        assert group.capacity().desired == 1
        with Client(address, set_as_default=False) as job:
            assert job.submit(sum, [1, 2]).result(timeout=SECONDS) == 3
    until(lambda: empty(group), "the instance's end")
