"""What `deploy/stack.yaml` itself promises, where an emulator would not show it; the linters."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's short functions as `{"Fn": value}`."""


def _function(loader: Loader, name: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


Loader.add_multi_constructor("!", _function)


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return yaml.load((DEPLOY / "stack.yaml").read_text(), Loader)


@pytest.fixture(scope="module")
def resources(template: dict[str, Any]) -> dict[str, Any]:
    return template["Resources"]


def properties(resources: dict[str, Any], name: str) -> dict[str, Any]:
    return resources[name]["Properties"]


def statements(resources: dict[str, Any]) -> list[dict[str, Any]]:
    """Every statement that allows something."""
    found = []
    for resource in resources.values():
        if resource["Type"] == "AWS::IAM::Role":
            policies = resource["Properties"]["Policies"]
            found += [s for p in policies for s in p["PolicyDocument"]["Statement"]]
        if resource["Type"] == "AWS::IAM::ManagedPolicy":
            found += resource["Properties"]["PolicyDocument"]["Statement"]
    return found


def test_only_the_bucket_survives(resources: dict[str, Any]) -> None:
    kept = {name for name, r in resources.items() if r.get("DeletionPolicy") == "Retain"}
    assert kept == {"Bucket", "BucketRules"}
    assert resources["Bucket"]["UpdateReplacePolicy"] == "Retain"


def test_the_bucket_refuses_unencrypted_connections(resources: dict[str, Any]) -> None:
    (rule,) = properties(resources, "BucketRules")["PolicyDocument"]["Statement"]
    assert rule["Effect"] == "Deny"
    assert rule["Action"] == "s3:*"
    assert rule["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_bucket_is_closed_to_the_public(resources: dict[str, Any]) -> None:
    bucket = properties(resources, "Bucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4


def test_scratch_is_swept(resources: dict[str, Any]) -> None:
    rules = properties(resources, "Bucket")["LifecycleConfiguration"]["Rules"]
    scratch, uploads = rules
    assert (scratch["Prefix"], scratch["Status"]) == ("scratch/", "Enabled")
    assert scratch["ExpirationInDays"] == {"Ref": "ScratchDays"}
    assert uploads["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 2


def test_no_way_in_from_outside(resources: dict[str, Any]) -> None:
    group = properties(resources, "Members")
    assert "SecurityGroupIngress" not in group
    ways_in = [r for r in resources.values() if r["Type"] == "AWS::EC2::SecurityGroupIngress"]
    assert [r["Properties"]["SourceSecurityGroupId"] for r in ways_in] == [{"Ref": "Members"}]
    assert all("CidrIp" not in r["Properties"] for r in ways_in)
    (out,) = group["SecurityGroupEgress"]
    assert (out["FromPort"], out["ToPort"]) == (443, 443)
    assert not [name for name in ("KeyName",) if name in str(resources)]


@pytest.mark.parametrize("name", ["HeadTemplate", "WorkerTemplate"])
def test_metadata_version_two_only_and_out_of_reach_of_bridged_containers(
    resources: dict[str, Any], name: str
) -> None:
    options = properties(resources, name)["LaunchTemplateData"]["MetadataOptions"]
    assert options["HttpTokens"] == "required"
    assert options["HttpPutResponseHopLimit"] == 1


def test_workers_go_away_with_their_instance_and_the_head_only_stops(
    resources: dict[str, Any],
) -> None:
    worker = properties(resources, "WorkerTemplate")["LaunchTemplateData"]
    head = properties(resources, "HeadTemplate")["LaunchTemplateData"]
    assert worker["InstanceInitiatedShutdownBehavior"] == "terminate"
    assert head["InstanceInitiatedShutdownBehavior"] == "stop"


def test_workers_start_at_none_and_an_update_does_not_end_them(resources: dict[str, Any]) -> None:
    group = properties(resources, "Workers")
    assert group["MinSize"] == "0"
    assert "DesiredCapacity" not in group
    assert group["CapacityRebalance"] is True
    (hook,) = group["LifecycleHookSpecificationList"]
    assert hook["DefaultResult"] == "CONTINUE"
    assert hook["HeartbeatTimeout"] <= 300


def test_rights_are_on_things_of_this_stack(resources: dict[str, Any]) -> None:
    everywhere = {
        "autoscaling:DescribeAutoScalingGroups",
        "ecr:GetAuthorizationToken",
        "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
    }  # those that AWS does not let one narrow down
    for statement in statements(resources):
        actions = statement["Action"]
        actions = [actions] if isinstance(actions, str) else actions
        assert not [action for action in actions if "*" in action], statement["Sid"]
        if statement["Resource"] == "*":
            assert set(actions) <= everywhere, statement["Sid"]


def test_a_node_reads_its_own_secrets_and_nobody_the_authority(resources: dict[str, Any]) -> None:
    reading = [s for s in statements(resources) if "ssm:GetParameter" in s["Action"]]
    ends = sorted(s["Resource"]["Sub"].rsplit("/volseg/", 1)[1] for s in reading)
    assert ends == ["${AWS::StackName}/head/*", "${AWS::StackName}/worker/*"]


def test_each_kind_of_node_has_its_role(resources: dict[str, Any]) -> None:
    for node, role in (("Head", "HeadRole"), ("Worker", "WorkerRole")):
        data = properties(resources, f"{node}Template")["LaunchTemplateData"]
        assert data["IamInstanceProfile"] == {"Arn": {"GetAtt": f"{node}Profile.Arn"}}
        assert properties(resources, f"{node}Profile")["Roles"] == [{"Ref": role}]


def test_the_budget_mails_what_is_spent_and_what_is_foreseen(resources: dict[str, Any]) -> None:
    alarms = properties(resources, "Budget")["NotificationsWithSubscribers"]
    assert {a["Notification"]["NotificationType"] for a in alarms} == {"ACTUAL", "FORECASTED"}
    assert all(a["Subscribers"][0]["Address"] == {"Ref": "AlarmEmail"} for a in alarms)


def test_no_parameter_takes_a_secret(template: dict[str, Any]) -> None:
    names = " ".join(template["Parameters"]).lower()
    assert not [word for word in ("password", "secret", "token", "key") if word in names]


def scripts(resources: dict[str, Any]) -> dict[str, str]:
    """The user data, with CloudFormation's substitutions done as it would."""
    found = {}
    for name in ("HeadTemplate", "WorkerTemplate"):
        text = properties(resources, name)["LaunchTemplateData"]["UserData"]["Fn::Base64"]["Sub"]
        text = text if isinstance(text, str) else text[0]
        for parameter in ("HeadImage", "WorkerImage", "BucketName", "HeadIdleHours", "IdleMinutes"):
            text = text.replace(f"${{{parameter}}}", parameter.lower())
        text = text.replace("${AWS::Region}", "region").replace("${AWS::StackName}", "stack")
        found[name] = text.replace("${!", "${")
        assert "${AWS" not in found[name]
    return found


class Machine:
    """A machine whose programs only note how they were called; `docker run` ends with a given status."""

    def __init__(self, folder: Path, status: int) -> None:
        self._folder = folder
        self._programs = folder / "bin"
        self._programs.mkdir()
        self._calls = folder / "calls"
        self._calls.touch()
        endings = {"docker": f'[[ "$1" != run ]] || exit {status}'}
        for name in ("aws", "docker", "shutdown", "install", "dnf", "systemctl", "cat", "hostname"):
            said = {"cat": "echo i-0abc", "hostname": "echo host"}.get(name, "")
            path = self._programs / name
            path.write_text(
                f'#!/bin/bash\necho {name} "$@" >> "{self._calls}"\n{said}\n{endings.get(name, "")}\n'
            )
            path.chmod(0o755)

    def run(self, script: str) -> list[str]:
        """Run the user data; every call, in order."""
        environment = {"PATH": f"{self._programs}:/usr/bin:/bin"}
        subprocess.run(
            ["/bin/bash", "-c", script], env=environment, cwd=self._folder, check=False, timeout=60
        )
        return self._calls.read_text().splitlines()


def test_a_worker_that_ends_well_shuts_its_instance_down(
    resources: dict[str, Any], tmp_path: Path
) -> None:
    calls = Machine(tmp_path, 0).run(scripts(resources)["WorkerTemplate"])
    (started,) = [call for call in calls if call.startswith("docker run")]
    assert "worker --stack stack --idle idleminutes --scratch /scratch" in started
    assert not [call for call in calls if "terminate-instance" in call]
    assert calls[-1] == "shutdown -h now"


def test_a_worker_that_can_not_start_is_not_replaced_for_ever(
    resources: dict[str, Any], tmp_path: Path
) -> None:
    calls = Machine(tmp_path, 125).run(scripts(resources)["WorkerTemplate"])
    assert calls[-1] == "shutdown -h now"
    assert (
        "aws autoscaling terminate-instance-in-auto-scaling-group --region region "
        "--instance-id i-0abc --should-decrement-desired-capacity" in calls
    )


def test_the_head_starts_its_container_and_stays(resources: dict[str, Any], tmp_path: Path) -> None:
    calls = Machine(tmp_path, 0).run(scripts(resources)["HeadTemplate"])
    assert "cloud head --stack stack --bucket bucketname" in calls[-1]
    assert "--restart unless-stopped" in calls[-1]
    assert "shutdown -h now" not in calls


def test_a_replaced_head_does_not_fight_the_old_one_for_an_address(
    template: dict[str, Any], resources: dict[str, Any]
) -> None:
    """CloudFormation makes the new one before it deletes the old one; and only what people choose replaces it."""
    assert "PrivateIpAddress" not in properties(resources, "Head")
    told = properties(resources, "SchedulerAddress")
    assert told["Value"] == {"Sub": "tls://${Head.PrivateIp}:8786"}
    assert told["Name"] == {"Sub": "/volseg/${AWS::StackName}/worker/scheduler"}
    assert template["Parameters"]["HeadMachineImage"]["Type"] == "AWS::EC2::Image::Id"


def test_everything_that_can_be_is_tagged(resources: dict[str, Any]) -> None:
    for name in ("HeadTemplate", "WorkerTemplate"):
        for spec in properties(resources, name)["LaunchTemplateData"]["TagSpecifications"]:
            keys = [tag["Key"] for tag in spec["Tags"]]
            assert keys == ["volseg:stack", "volseg:role", "Name"]
    head = {tag["Key"] for tag in properties(resources, "Head")["Tags"]}
    group = properties(resources, "Workers")["Tags"]
    assert head >= {"volseg:stack", "volseg:role"}
    assert {tag["Key"] for tag in group if tag["PropagateAtLaunch"]} == {
        "volseg:stack",
        "volseg:role",
    }


def test_storage_is_reached_without_leaving_the_network(resources: dict[str, Any]) -> None:
    endpoint = properties(resources, "StorageEndpoint")
    assert endpoint["VpcEndpointType"] == "Gateway"
    assert endpoint["ServiceName"] == {"Sub": "com.amazonaws.${AWS::Region}.s3"}


def test_disks_and_bucket_are_encrypted(resources: dict[str, Any]) -> None:
    for name in ("HeadTemplate", "WorkerTemplate"):
        data = properties(resources, name)["LaunchTemplateData"]
        for disk in data["BlockDeviceMappings"]:
            assert disk["Ebs"]["Encrypted"] is True
            assert disk["Ebs"]["DeleteOnTermination"] is True
    encryption = properties(resources, "Bucket")["BucketEncryption"]
    (rule,) = encryption["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}


def tool(name: str) -> str:
    """A linter of the development environment."""
    beside = Path(sys.executable).with_name(name)
    path = str(beside) if beside.exists() else shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def lint(*command: str, given: str | None = None) -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_cfn_lint() -> None:
    lint(tool("cfn-lint"), str(DEPLOY / "stack.yaml"))


def test_shellcheck_of_the_user_data(resources: dict[str, Any]) -> None:
    for text in scripts(resources).values():
        lint(tool("shellcheck"), "-", given=text)


def test_shellcheck_of_the_scripts() -> None:
    lint(tool("shellcheck"), *(str(path) for path in sorted(DEPLOY.glob("*.sh"))))


def test_hadolint() -> None:
    lint(tool("hadolint"), str(DEPLOY / "Dockerfile"))
