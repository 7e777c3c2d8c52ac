"""The life of one stack: made from `deploy/stack.yaml`, looked at, scaled, deleted."""

from __future__ import annotations

import json
import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from volseg.cloud.activity import Activity, read_activity
from volseg.cloud.certs import expires, make_authority
from volseg.cloud.failures import CloudError, aws_client, code_of, telling
from volseg.cloud.files import deploy_file
from volseg.cloud.fleet import SCHEDULER, Capacity, Group
from volseg.cloud.vault import Vault
from volseg.errors import ExistsError, InputError, NotThereError

TAG = "volseg:stack"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,20}[a-z0-9]")
_GONE = "DELETE_COMPLETE"
PREFECT = "head/prefect"
"""Where the vault keeps Prefect's user and password."""
_MACHINE_IMAGE = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StackSettings:
    """What `up` may choose; None leaves what the stack has, or the template's default.

    Parameters
    ----------
    image, worker_image
        Container images of head and workers.
    email
        Who hears of the budget.
    budget
        US dollars a month.
    worker_type, head_type
        Instance types; the first choice for workers.
    max_workers, on_demand
        Upper bound; how many of them are on-demand before spot.
    idle_minutes, head_idle_hours
        After which workers and the head end themselves.
    """

    image: str | None = None
    worker_image: str | None = None
    email: str | None = None
    budget: int | None = None
    worker_type: str | None = None
    head_type: str | None = None
    max_workers: int | None = None
    on_demand: int | None = None
    idle_minutes: int | None = None
    head_idle_hours: int | None = None

    def parameters(self) -> dict[str, str]:
        """Return the template's parameters that were chosen."""
        chosen = {_PARAMETERS[field.name]: getattr(self, field.name) for field in fields(self)}
        return {name: str(value) for name, value in chosen.items() if value is not None}


_PARAMETERS: Mapping[str, str] = {
    "image": "HeadImage",
    "worker_image": "WorkerImage",
    "email": "AlarmEmail",
    "budget": "MonthlyBudget",
    "worker_type": "WorkerType",
    "head_type": "HeadType",
    "max_workers": "MaxWorkers",
    "on_demand": "OnDemandWorkers",
    "idle_minutes": "IdleMinutes",
    "head_idle_hours": "HeadIdleHours",
}
_NEEDED = ("HeadImage", "WorkerImage", "AlarmEmail")
_OF_THE_HEAD = ("HeadImage", "HeadType", "HeadIdleHours")


@dataclass(frozen=True)
class Status:
    """What there is of a stack.

    Parameters
    ----------
    name, state
        Of the stack; CloudFormation's word, such as ``"CREATE_COMPLETE"``.
    bucket, head, head_state, head_kind
        Name; instance id, its state such as ``"running"``, and its type.
    scheduler
        Address inside the network.
    capacity
        Of the workers; None while there is no group.
    activity
        What the head last said that it is doing; None if it never did.
    certificates_end
        Date, or None without certificates.
    """

    name: str
    state: str
    bucket: str | None
    head: str | None
    head_state: str | None
    head_kind: str | None
    scheduler: str | None
    capacity: Capacity | None
    activity: Activity | None
    certificates_end: str | None

    def interrupts(self) -> list[str]:
        """Return what `down` would interrupt, in words; empty where nothing runs."""
        found = []
        if self.capacity is not None and self.capacity.staying:
            found.append(f"{self.capacity.staying} worker instances")
        if self.activity is not None and self.head_state == "running":
            found += self.activity.describe()
        return found


class Stack:
    """One stack by its name.

    Parameters
    ----------
    name
        Lower case letters, digits and hyphens; becomes part of the bucket's name.
    region
        Overrides that of the environment.

    Raises
    ------
    InputError
        If the name can't be one.
    """

    def __init__(self, name: str, region: str | None = None) -> None:
        if not _NAME.fullmatch(name):
            raise InputError(
                f"stack name {name!r}: expected 2 to 22 lower case letters, digits and hyphens, "
                "starting with a letter"
            )
        self.name = name
        self._region = region
        self._formation = aws_client("cloudformation", region)
        self.vault = Vault(aws_client("ssm", region), name)
        self.group = Group(name, aws_client("autoscaling", region))

    # --- up

    def up(self, settings: StackSettings, *, extra: Mapping[str, str] | None = None) -> Status:
        """Create the stack, or update it, or start its stopped head; secrets are made first.

        Parameters
        ----------
        settings
            What was chosen.
        extra
            Further parameters of the template, by their names there.

        Raises
        ------
        InputError
            If something that the template needs was not given.
        CloudError
            If CloudFormation failed; with the first resource's reason.
        """
        chosen = settings.parameters() | dict(extra or {})
        description = self._describe()
        self.make_secrets()
        if description is None:
            self._create(chosen)
        else:
            self._update(chosen, description)
        status = self.status()
        if status.head is not None and status.head_state in ("stopped", "stopping"):
            with telling(f"starting {status.head}"):
                aws_client("ec2", self._region).start_instances(InstanceIds=[status.head])
        return status

    def touches_head(self, settings: StackSettings) -> bool:
        """Tell whether `up` with these settings would replace or restart the head of a stack that is there.

        A template that is not the deployed one may do so too: another version of volseg made the stack.
        """
        description = self._describe()
        if description is None:
            return False
        before = {p["ParameterKey"]: p["ParameterValue"] for p in description["Parameters"]}
        chosen = settings.parameters()
        if any(chosen.get(name, before.get(name)) != before.get(name) for name in _OF_THE_HEAD):
            return True
        return self._deployed_template() != deploy_file("stack.yaml").read_text()

    def make_secrets(self, *, renew: bool = False) -> None:
        """Make certificates and Prefect's password where missing; `renew` replaces certificates."""
        there = self.vault.names()
        if renew or "authority/key" not in there:
            partly = any(name not in (PREFECT, SCHEDULER) for name in there)
            self.vault.keep_authority(make_authority(self.name), renew=renew or partly)
        if PREFECT not in there:
            self.vault.put(PREFECT, f"volseg:{secrets.token_urlsafe(24)}")

    def _create(self, chosen: dict[str, str]) -> None:
        missing = [name for name in _NEEDED if name not in chosen]
        if missing:
            raise InputError(
                f"stack {self.name} is not there yet; to create it, {', '.join(missing)} must "
                "be given: --image, --worker-image, --email"
            )
        bucket = self._kept_bucket()
        if bucket is not None:
            log.info("using the bucket %s left from an earlier stack", bucket)
            chosen = chosen | {"ExistingBucket": bucket}
        chosen = {"HeadMachineImage": self._machine_image()} | chosen
        with telling(f"creating {self.name}"):
            self._formation.create_stack(
                StackName=self.name,
                TemplateBody=deploy_file("stack.yaml").read_text(),
                Parameters=_listed(chosen),
                Capabilities=["CAPABILITY_IAM"],
                Tags=[{"Key": TAG, "Value": self.name}],
            )
        self._wait("stack_create_complete")

    def _machine_image(self) -> str:
        """Today's Amazon Linux; kept by later updates, as another one would replace the head."""
        with telling("asking for Amazon Linux's newest machine image"):
            found = aws_client("ssm", self._region).get_parameter(Name=_MACHINE_IMAGE)
        return str(found["Parameter"]["Value"])

    def _update(self, chosen: dict[str, str], description: dict[str, Any]) -> None:
        before = {p["ParameterKey"]: p["ParameterValue"] for p in description["Parameters"]}
        template = deploy_file("stack.yaml").read_text()
        if before | chosen == before and template == self._deployed_template():
            return
        from botocore.exceptions import ClientError

        with telling(f"updating {self.name}"):
            try:
                self._formation.update_stack(
                    StackName=self.name,
                    TemplateBody=template,
                    Parameters=_listed(before | chosen),
                    Capabilities=["CAPABILITY_IAM"],
                    Tags=[{"Key": TAG, "Value": self.name}],
                )
            except ClientError as error:
                if "No updates are to be performed" in str(error):
                    return
                raise
        self._wait("stack_update_complete")

    def _deployed_template(self) -> str | None:
        with telling(f"reading the template of {self.name}"):
            found = self._formation.get_template(StackName=self.name)["TemplateBody"]
        return found if isinstance(found, str) else None

    def _kept_bucket(self) -> str | None:
        """The bucket that an earlier stack of this name left here, if it did."""
        from botocore.exceptions import ClientError

        account = aws_client("sts", self._region).get_caller_identity()["Account"]
        s3 = aws_client("s3", self._region)
        name = f"{self.name}-{account}-{s3.meta.region_name}"
        with telling(f"looking for the bucket {name}"):
            try:
                s3.head_bucket(Bucket=name)
            except ClientError as error:
                if code_of(error) in ("404", "NoSuchBucket"):
                    return None
                raise
        return name

    # --- status, scale

    def status(self) -> Status:
        """Ask for the present state.

        Raises
        ------
        NotThereError
            If there is no such stack.
        """
        description = self._describe()
        if description is None:
            raise NotThereError(f"no stack {self.name} in this account and region")
        outputs = {o["OutputKey"]: o["OutputValue"] for o in description.get("Outputs", [])}
        bucket, head = outputs.get("Bucket"), outputs.get("Head")
        head_state, head_kind = self._instance(head)
        try:
            capacity: Capacity | None = self.group.capacity()
        except NotThereError:
            capacity = None
        names = self.vault.names()
        ends = None
        if "client/certificate" in names:
            ends = expires(self.vault.get("client/certificate")).date().isoformat()
        return Status(
            self.name,
            description["StackStatus"],
            bucket,
            head,
            head_state,
            head_kind,
            self.vault.get(SCHEDULER) if SCHEDULER in names else None,
            capacity,
            None
            if bucket is None
            else read_activity(aws_client("s3", self._region), bucket, self.name),
            ends,
        )

    def scale(self, workers: int) -> Capacity:
        """Ask for so many workers; returns what was before."""
        return self.group.ask_for(workers)

    # --- down

    def down(self) -> str | None:
        """Delete the stack and its secrets; returns the name of the bucket, which stays.

        Raises
        ------
        NotThereError
            If there is no such stack.
        CloudError
            If CloudFormation could not delete something; with its reason.
        """
        bucket = self.status().bucket
        with telling(f"deleting {self.name}"):
            self._formation.delete_stack(StackName=self.name)
        self._wait("stack_delete_complete")
        self.vault.empty()
        return bucket

    # --- CloudFormation and EC2

    def _describe(self) -> dict[str, Any] | None:
        from botocore.exceptions import ClientError

        with telling(f"asking for stack {self.name}"):
            try:
                found = self._formation.describe_stacks(StackName=self.name)["Stacks"]
            except ClientError as error:
                if code_of(error) == "ValidationError" and "does not exist" in str(error):
                    return None
                raise
        alive = [stack for stack in found if stack["StackStatus"] != _GONE]
        if not alive:
            return None
        tags = {tag["Key"]: tag["Value"] for tag in alive[0].get("Tags", [])}
        if TAG not in tags:
            raise ExistsError(
                f"the CloudFormation stack {self.name} is not one of volseg's; choose another name"
            )
        description: dict[str, Any] = alive[0]
        return description

    def _instance(self, instance: str | None) -> tuple[str | None, str | None]:
        if instance is None:
            return None, None
        with telling(f"asking for {instance}"):
            found = aws_client("ec2", self._region).describe_instances(InstanceIds=[instance])
        for reservation in found["Reservations"]:
            for described in reservation["Instances"]:
                return described["State"]["Name"], described["InstanceType"]
        return None, None

    def _wait(self, waiter: str) -> None:
        from botocore.exceptions import WaiterError

        try:
            self._formation.get_waiter(waiter).wait(
                StackName=self.name, WaiterConfig={"Delay": 10, "MaxAttempts": 180}
            )
        except WaiterError as error:
            raise CloudError(f"stack {self.name}: {self._reason() or error}") from error

    def _reason(self) -> str | None:
        """What CloudFormation gives as the first failure's reason."""
        with telling(f"asking why {self.name} failed"):
            pages = self._formation.get_paginator("describe_stack_events").paginate(
                StackName=self.name
            )
            events = [event for page in pages for event in page["StackEvents"]]
        failed = [e for e in events if e["ResourceStatus"].endswith("_FAILED")]
        if not failed:
            return None
        first = min(failed, key=lambda event: event["Timestamp"])
        said = json.dumps(first.get("ResourceStatusReason", "no reason given"))
        return f"{first['LogicalResourceId']} {first['ResourceStatus']}: {said}"


def _listed(parameters: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": key, "ParameterValue": parameters[key]} for key in sorted(parameters)]
