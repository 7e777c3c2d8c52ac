"""The Auto Scaling group of a stack: its size, and this host as a member."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volseg.cloud.failures import CloudError, aws_client, telling
from volseg.cloud.metadata import Metadata
from volseg.errors import InputError, NotThereError

HOOK = "drain"
SCHEDULER = "worker/scheduler"
"""Where the stack keeps the scheduler's address, below its other parameters."""
_GOING = ("Terminating", "Terminated", "Detaching", "Detached")


def group_name(stack: str) -> str:
    """Return the name of a stack's Auto Scaling group."""
    return f"{stack}-workers"


@dataclass(frozen=True)
class Member:
    """One instance of the group.

    Parameters
    ----------
    instance, kind, zone
        Id, such as ``"i-0abc"``; type, such as ``"g6.xlarge"``; availability zone.
    state
        Of its lifecycle, such as ``"InService"``.
    """

    instance: str
    kind: str
    zone: str
    state: str

    @property
    def staying(self) -> bool:
        """Whether it is not on its way out."""
        return not self.state.startswith(_GOING)


@dataclass(frozen=True)
class Capacity:
    """What the group has and may have.

    Parameters
    ----------
    desired, most
        Number of workers asked for; upper bound.
    members
        The instances there are, also those starting and ending.
    """

    desired: int
    most: int
    members: tuple[Member, ...]

    @property
    def staying(self) -> int:
        """Number of instances that start or run and are not on their way out."""
        return sum(member.staying for member in self.members)


class Group:
    """A stack's Auto Scaling group.

    Parameters
    ----------
    stack
        Name of the stack.
    autoscaling
        boto3 client; made from the environment if not given.
    """

    def __init__(self, stack: str, autoscaling: Any = None) -> None:
        self._client = autoscaling or aws_client("autoscaling")
        self.name = group_name(stack)

    def capacity(self) -> Capacity:
        """Ask for the present state.

        Raises
        ------
        NotThereError
            If there is no such group.
        """
        with telling(f"asking for {self.name}"):
            found = self._client.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])
        if not found["AutoScalingGroups"]:
            raise NotThereError(
                f"no Auto Scaling group {self.name}: is the stack up, and the region right?"
            )
        group = found["AutoScalingGroups"][0]
        members = tuple(
            Member(
                i["InstanceId"],
                i.get("InstanceType", ""),
                i["AvailabilityZone"],
                i["LifecycleState"],
            )
            for i in group["Instances"]
        )
        return Capacity(group["DesiredCapacity"], group["MaxSize"], members)

    def ask_for(self, workers: int) -> Capacity:
        """Set the number of workers; those too many drain and end.

        Raises
        ------
        InputError
            If the group's upper bound is lower.
        """
        before = self.capacity()
        if not 0 <= workers <= before.most:
            raise InputError(
                f"{workers} workers: {self.name} allows 0 to {before.most}; "
                "raise it with `volseg cloud up --max-workers`"
            )
        with telling(f"asking {self.name} for {workers} workers"):
            self._client.set_desired_capacity(
                AutoScalingGroupName=self.name, DesiredCapacity=workers, HonorCooldown=False
            )
        return before

    def end(self, instance: str) -> None:
        """End one instance and lower the number of workers, so that no other takes its place."""
        with telling(f"ending {instance}"):
            self._client.terminate_instance_in_auto_scaling_group(
                InstanceId=instance, ShouldDecrementDesiredCapacity=True
            )

    def let_go(self, instance: str) -> None:
        """Tell the group that a terminating instance has drained and need not be waited for."""
        with telling(f"letting {instance} go"):
            self._client.complete_lifecycle_action(
                LifecycleHookName=HOOK,
                AutoScalingGroupName=self.name,
                InstanceId=instance,
                LifecycleActionResult="CONTINUE",
            )


class Instance:
    """This host as a member of the group; the `Guard` of `host.Host` on EC2.

    Parameters
    ----------
    group
        Of the stack.
    metadata
        This host's metadata service.
    """

    def __init__(self, group: Group, metadata: Metadata) -> None:
        self._group = group
        self._metadata = metadata
        self.id = metadata.instance_id()

    def notice(self) -> str | None:
        """Return why this instance will soon be taken away, or None."""
        return self._metadata.notice()

    def end(self, why: str) -> None:
        """End this instance as `why` demands.

        Where nobody needs it (idle, no scheduler, only crashes), the desired capacity is lowered
        with it. After a scale-in the group is told not to wait. After a spot notice or a signal
        AWS does what it has announced.
        """
        if why in ("idle", "scheduler-gone", "crashing"):
            self._group.end(self.id)
        elif why == "scale-in":
            self._group.let_go(self.id)


@dataclass(frozen=True)
class Joined:
    """What a worker on EC2 needs of its stack: the scheduler, the folder of its certificates, itself."""

    scheduler: str
    tls: Path
    instance: Instance


def join_stack(stack: str, tls: Path | None = None, metadata: Metadata | None = None) -> Joined:
    """Fetch this worker's certificates into memory-backed storage; find the scheduler and who this is.

    Parameters
    ----------
    stack
        Name of the stack.
    tls
        Folder for the certificates; by default one of its own in memory.
    metadata
        This host's metadata service.

    Raises
    ------
    CloudError
        If this is no EC2 instance.
    """
    from volseg.cloud.vault import Vault

    metadata = metadata or Metadata()
    try:
        region = metadata.region()
        instance = Instance(Group(stack, aws_client("autoscaling", region)), metadata)
    except OSError as error:
        raise CloudError(
            f"--stack {stack}: the instance metadata service does not answer ({error}); "
            "off EC2, pass the scheduler's address and --tls instead"
        ) from error
    folder = tls or private_folder()
    vault = Vault(aws_client("ssm", region), stack)
    vault.identity("worker").write(folder)
    return Joined(vault.get(SCHEDULER), folder, instance)


def private_folder() -> Path:
    """Make a folder for secrets that only this user reads, in memory where the system can."""
    import tempfile

    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="volseg-", dir=memory if memory.is_dir() else None))
