"""`volseg cloud …` as people type it, against moto in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws
from moto.ec2.models.route_tables import RouteTable
from moto.ssm import ssm_backends
from typer.testing import CliRunner, Result

from tests.cloud.command import make_app
from volseg.cloud.activity import Activity, write_activity
from volseg.cloud.files import deploy_file
from volseg.cloud.stack import Stack
from volseg.errors import AccessDeniedError, InputError, NotThereError

REGION = "eu-west-1"
LINUX = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
GPU = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023"


def volseg(*arguments: str, answer: str | None = None) -> Result:
    """Run a command; what it raises is in the result."""
    return CliRunner().invoke(make_app(), ["cloud", *arguments], input=answer)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A stack called `lab`; its bucket."""
    patch = pytest.MonkeyPatch()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "testing")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        patch.setenv(name, REGION)
    patch.setenv("VOLSEG_STACK", "lab")
    # moto's CloudFormation forgets to delete route tables, and then can't delete their network
    patch.setattr(
        RouteTable,
        "delete",
        lambda table, account, region: table.ec2_backend.route_tables.pop(table.id),
        raising=False,
    )
    with mock_aws():
        known = ssm_backends["123456789012"][REGION]._parameters
        known[f"{GPU}/latest/ami-id"] = known[LINUX]
        done = volseg("up", "--image", "r/v:1", "--worker-image", "r/v:2", "--email", "a@b.org")
        assert done.exit_code == 0, done.output
        yield f"lab-123456789012-{REGION}"
    patch.undo()


def deployed(parameter: str) -> str:
    (stack,) = boto3.client("cloudformation").describe_stacks(StackName="lab")["Stacks"]
    return {p["ParameterKey"]: p["ParameterValue"] for p in stack["Parameters"]}[parameter]


@pytest.fixture
def running(bucket: str) -> Iterator[None]:
    """Two instances, and a head that says that they work."""
    assert volseg("scale", "2").exit_code == 0
    s3 = boto3.client("s3")
    write_activity(s3, bucket, "lab", Activity.now(2, 17, 1, ("segment brain",)))
    yield
    write_activity(s3, bucket, "lab", Activity.now(0, 0, 0))
    assert volseg("scale", "0").exit_code == 0


def test_status_for_people_and_for_programs(bucket: str) -> None:
    told = volseg("status").output
    assert "lab (CREATE_COMPLETE)" in told
    assert bucket in told
    assert "running       nothing" in told
    status = json.loads(volseg("status", "--json").output)
    assert status["capacity"] == {"desired": 0, "most": 8, "members": []}
    assert status["head_state"] == "running"


def test_scale_says_from_what_to_what(bucket: str) -> None:
    assert volseg("scale", "1").output.strip() == "lab: 0 → 1 workers"
    assert volseg("scale", "0").output.strip() == "lab: 1 → 0 workers"


def test_costs_are_of_what_runs(bucket: str) -> None:
    volseg("scale", "2")
    told = json.loads(volseg("costs", "--json").output)
    volseg("scale", "0")
    rest = json.loads(volseg("costs", "--json").output)
    (workers,) = set(told["hour"]) - set(rest["hour"])
    assert workers.startswith("2 × g")
    assert told["hour"][workers] > 2 * 0.8
    assert rest["hour"] == {"head t3.large": pytest.approx(0.0882)}
    assert rest["month"]["head's disk"] == pytest.approx(3.2)
    assert "an hour   all that runs" in volseg("costs").output


def test_certificates_are_written_for_one_person(bucket: str, tmp_path: Path) -> None:
    told = volseg("certs", "--out", str(tmp_path / "tls")).output
    assert f"export VOLSEG_TLS_KEY={tmp_path / 'tls' / 'key.pem'}" in told
    assert "PRIVATE KEY" in (tmp_path / "tls" / "key.pem").read_text()
    assert "PRIVATE KEY" not in told
    before = (tmp_path / "tls" / "ca.pem").read_text()
    volseg("certs", "--renew", "--yes", "--out", str(tmp_path / "tls"))
    assert (tmp_path / "tls" / "ca.pem").read_text() != before


@pytest.mark.parametrize(
    "command",
    [("down",), ("scale", "1"), ("up", "--image", "r/v:3"), ("up", "--head-type", "m5.large")],
)
def test_in_the_middle_of_a_run_it_says_what_it_interrupts_and_does_nothing_unasked(
    running: None, command: tuple[str, ...]
) -> None:
    refused = volseg(*command)
    assert isinstance(refused.exception, InputError)
    assert "--yes" in str(refused.exception)
    for told in ("this interrupts", "17 tasks on 2 Dask workers", "flow run segment brain"):
        assert told in refused.output
    status = json.loads(volseg("status", "--json").output)
    assert status["capacity"]["desired"] == 2
    assert (status["head_kind"], status["head_state"]) == ("t3.large", "running")
    assert deployed("HeadImage") == "r/v:1"


def test_up_asks_only_where_the_head_would_be_touched(
    running: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for harmless in (("up",), ("up", "--image", "r/v:1"), ("up", "--max-workers", "8")):
        done = volseg(*harmless)
        assert done.exit_code == 0, done.output
        assert "this interrupts" not in done.output
    newer = deploy_file("stack.yaml").read_text() + "# of another version\n"
    monkeypatch.setattr(Stack, "_deployed_template", lambda stack: newer)
    refused = volseg("up")
    assert "17 tasks on 2 Dask workers" in refused.output
    assert isinstance(refused.exception, InputError)


def test_a_person_is_asked_and_may_say_no(running: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volseg.cli.cloud._somebody_is_there", lambda: True)
    refused = volseg("down", answer="n\n")
    assert refused.exit_code == 1
    assert "Go on?" in refused.output
    assert volseg("status").exit_code == 0
    agreed = volseg("scale", "1", answer="y\n")
    assert agreed.exit_code == 0
    assert "2 → 1 workers" in agreed.output


def test_a_stack_that_is_not_there(bucket: str) -> None:
    for command in ("status", "down", "costs"):
        failed = volseg(command, "--stack", "nobody")
        assert isinstance(failed.exception, NotThereError)
        assert "no stack nobody" in str(failed.exception)


def test_without_credentials_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    boto3.setup_default_session()
    failed = volseg("status", "--stack", "lab")
    assert isinstance(failed.exception, AccessDeniedError)
    assert "aws sso login" in str(failed.exception)


def test_down_with_yes_deletes_all_but_the_bucket(bucket: str) -> None:
    volseg("scale", "1")
    done = volseg("down", "--yes")
    assert done.exit_code == 0, done.output
    assert "1 worker instances" in done.output
    assert f"the bucket {bucket} and what is in it stay" in done.output
    assert isinstance(volseg("status").exception, NotThereError)
