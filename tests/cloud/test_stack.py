"""The stack's life against moto's CloudFormation, EC2, S3 and SSM; nothing leaves this process."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.ec2.models.route_tables import RouteTable
from moto.ssm import ssm_backends

from volseg.cloud.activity import Activity, write_activity
from volseg.cloud.fleet import Group
from volseg.cloud.stack import Stack, StackSettings
from volseg.errors import ExistsError, InputError, NotThereError

REGION = "eu-west-1"
SETTINGS = StackSettings(
    image="registry.example/volseg:cpu",
    worker_image="registry.example/volseg:cuda",
    email="lab@example.org",
)


def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION)


MACHINE = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-amazon-linux-2023"


@pytest.fixture(scope="module")
def aws() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "testing")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        patch.setenv(name, REGION)
    # moto's CloudFormation forgets to delete route tables, and then can't delete their network
    patch.setattr(
        RouteTable,
        "delete",
        lambda table, account, region: table.ec2_backend.route_tables.pop(table.id),
        raising=False,
    )
    with mock_aws():
        # moto knows Amazon Linux's public parameters, but not the deep learning image's
        image = client("ec2").describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
        client("ssm").put_parameter(Name="/machine", Value=image, Type="String")
        known = ssm_backends["123456789012"][REGION]._parameters
        known[f"{MACHINE}/latest/ami-id"] = known["/machine"]
        known[image] = known["/machine"]  # moto tells resolved values where AWS tells names
        yield
    patch.undo()


@pytest.fixture(scope="module")
def lab(aws: None) -> Stack:
    """A stack that is only looked at."""
    stack = Stack("lab")
    stack.up(SETTINGS)
    return stack


@pytest.fixture
def stack(aws: None) -> Stack:
    """A stack of the test's own."""
    stack = Stack(f"s-{uuid.uuid4().hex[:12]}")
    stack.up(SETTINGS)
    return stack


def resource(stack: Stack, name: str) -> str:
    """Physical id of a resource, by its name in the template."""
    found = client("cloudformation").describe_stack_resource(
        StackName=stack.name, LogicalResourceId=name
    )
    return str(found["StackResourceDetail"]["PhysicalResourceId"])


def test_it_starts_with_a_head_and_no_worker(lab: Stack) -> None:
    status = lab.status()
    assert status.state == "CREATE_COMPLETE"
    assert status.head_state == "running"
    assert status.head_kind == "t3.large"
    found = client("ec2").describe_instances(InstanceIds=[status.head])["Reservations"]
    address = found[0]["Instances"][0]["PrivateIpAddress"]
    assert status.scheduler == f"tls://{address}:8786" == lab.vault.get("worker/scheduler")
    assert status.capacity is not None
    assert (status.capacity.desired, status.capacity.members) == (0, ())
    assert status.interrupts() == []


def test_nobody_comes_in_but_the_members(lab: Stack) -> None:
    found = client("ec2").describe_security_groups(GroupIds=[resource(lab, "Members")])
    (members,) = found["SecurityGroups"]
    for permission in members["IpPermissions"]:
        assert permission["IpRanges"] == [] and permission["Ipv6Ranges"] == []
        assert [p["GroupId"] for p in permission["UserIdGroupPairs"]] == [members["GroupId"]]
        assert permission["FromPort"] >= 1024
    assert members["IpPermissions"]


def test_storage_is_reached_through_the_gateway_endpoint(lab: Stack) -> None:
    (endpoint,) = client("ec2").describe_vpc_endpoints(
        VpcEndpointIds=[resource(lab, "StorageEndpoint")]
    )["VpcEndpoints"]
    assert endpoint["VpcEndpointType"] == "Gateway"
    assert endpoint["ServiceName"] == f"com.amazonaws.{REGION}.s3"
    assert len(endpoint["RouteTableIds"]) == 1


def test_the_bucket_is_encrypted_and_named_after_its_stack(lab: Stack) -> None:
    bucket = lab.status().bucket
    s3 = client("s3")
    assert bucket == f"lab-123456789012-{REGION}"
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"


def launch_templates() -> dict[str, dict[str, Any]]:
    found = client("ec2").describe_launch_templates()["LaunchTemplates"]
    return {
        template["LaunchTemplateName"]: client("ec2").describe_launch_template_versions(
            LaunchTemplateId=template["LaunchTemplateId"]
        )["LaunchTemplateVersions"][0]["LaunchTemplateData"]
        for template in found
    }


@pytest.mark.parametrize("name", ["lab-head", "lab-worker"])
def test_hosts_are_launched_with_version_two_metadata_and_encrypted_disks(
    lab: Stack, name: str
) -> None:
    data = launch_templates()[name]
    assert data["MetadataOptions"]["HttpTokens"] == "required"
    assert data["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert all(disk["Ebs"]["Encrypted"] for disk in data["BlockDeviceMappings"])
    tags = {
        spec["ResourceType"]: {tag["Key"]: tag["Value"] for tag in spec["Tags"]}
        for spec in data["TagSpecifications"]
    }
    assert tags["instance"]["volseg:stack"] == tags["volume"]["volseg:stack"] == "lab"


def test_user_data_starts_the_image_and_holds_no_secret(lab: Stack) -> None:
    scripts = {
        name: base64.b64decode(data["UserData"]).decode()
        for name, data in launch_templates().items()
    }
    head, worker = scripts["lab-head"], scripts["lab-worker"]
    assert 'registry.example/volseg:cpu" cloud head --stack "lab"' in head
    assert 'worker --stack "lab"' in worker
    secrets = [lab.vault.get(name) for name in lab.vault.names()]
    for text in scripts.values():
        assert "PRIVATE KEY" not in text
        assert not [secret for secret in secrets if secret in text]
        assert "${" not in text.replace("${registry%%/*}", "")


def test_workers_are_mixed_spot_with_an_on_demand_base(lab: Stack) -> None:
    (group,) = client("autoscaling").describe_auto_scaling_groups(
        AutoScalingGroupNames=["lab-workers"]
    )["AutoScalingGroups"]
    policy = group["MixedInstancesPolicy"]
    kinds = [o["InstanceType"] for o in policy["LaunchTemplate"]["Overrides"]]
    assert kinds == ["g6.xlarge", "g5.xlarge", "g6e.xlarge"]
    spread = policy["InstancesDistribution"]
    assert spread["OnDemandBaseCapacity"] == 1
    assert spread["OnDemandPercentageAboveBaseCapacity"] == 0
    assert spread["SpotAllocationStrategy"] == "price-capacity-optimized"
    assert len(group["VPCZoneIdentifier"].split(",")) == 3
    tags = {tag["Key"]: tag for tag in group["Tags"]}
    assert tags["volseg:stack"]["PropagateAtLaunch"] is True


def test_every_secret_is_there_before_the_nodes(lab: Stack) -> None:
    assert "head/prefect" in lab.vault.names()
    user, password = lab.vault.get("head/prefect").split(":")
    assert user == "volseg" and len(password) >= 32
    assert lab.status().certificates_end is not None


def test_scaling(stack: Stack) -> None:
    assert stack.scale(3).desired == 0
    capacity = stack.status().capacity
    assert capacity is not None and capacity.staying == 3
    assert {member.kind for member in capacity.members} <= {"g6.xlarge", "g5.xlarge", "g6e.xlarge"}
    assert stack.status().interrupts() == ["3 worker instances"]
    with pytest.raises(InputError, match=r"9 workers: .*-workers allows 0 to 8.*--max-workers"):
        stack.scale(9)
    stack.scale(0)
    capacity = stack.status().capacity
    assert capacity is not None and capacity.staying == 0


def test_a_worker_ends_itself_and_no_other_takes_its_place(stack: Stack) -> None:
    stack.scale(2)
    group = Group(stack.name, client("autoscaling"))
    gone, stays = group.capacity().members
    group.end(gone.instance)
    capacity = group.capacity()
    assert capacity.desired == 1
    assert [m.instance for m in capacity.members if m.staying] == [stays.instance]


def test_an_update_changes_what_was_chosen(stack: Stack) -> None:
    before = stack.status()
    stack.up(StackSettings(max_workers=20))
    after = stack.status()
    assert after.capacity is not None and before.capacity is not None
    assert (before.capacity.most, after.capacity.most) == (8, 20)
    assert after.bucket == before.bucket
    assert stack.vault.get("head/prefect")


def head_and_image(stack: Stack) -> tuple[list[str], str]:
    """Its running instances, and the machine image that it asks for (moto forgets the output `Head`)."""
    described = client("cloudformation").describe_stacks(StackName=stack.name)["Stacks"][0]
    found = {p["ParameterKey"]: p["ParameterValue"] for p in described["Parameters"]}
    instances = [
        instance["InstanceId"]
        for reservation in client("ec2").describe_instances()["Reservations"]
        for instance in reservation["Instances"]
        if instance["State"]["Name"] == "running"
    ]
    return instances, found["HeadMachineImage"]


def test_an_update_does_not_replace_the_head_when_amazon_linux_is_newer(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = head_and_image(stack)
    monkeypatch.setattr(stack, "_machine_image", lambda: "ami-00000000")
    stack.up(StackSettings(max_workers=9))
    assert head_and_image(stack) == before


def test_an_update_keeps_the_secrets(stack: Stack) -> None:
    before = {name: stack.vault.get(name) for name in stack.vault.names()}
    stack.up(StackSettings(budget=50))
    assert {name: stack.vault.get(name) for name in stack.vault.names()} == before


def test_up_starts_a_head_that_stopped_itself(stack: Stack) -> None:
    head = stack.status().head
    client("ec2").stop_instances(InstanceIds=[head])
    assert stack.status().head_state == "stopped"
    stack.up(StackSettings())
    assert stack.status().head_state == "running"


def test_what_runs_is_told(stack: Stack) -> None:
    bucket = stack.status().bucket
    assert bucket is not None
    write_activity(client("s3"), bucket, stack.name, Activity.now(3, 41, 1, ("segment brain",)))
    assert stack.status().interrupts() == ["41 tasks on 3 Dask workers", "flow run segment brain"]
    old = Activity("2026-01-01T00:00:00+00:00", 3, 41, 1)
    write_activity(client("s3"), bucket, stack.name, old)
    assert stack.status().interrupts() == []


def resources() -> dict[str, list[Any]]:
    """What costs money or opens doors, by kind, of what moto's CloudFormation can delete."""
    ec2, scaling = client("ec2"), client("autoscaling")
    vpcs = [v for v in ec2.describe_vpcs()["Vpcs"] if not v["IsDefault"]]
    alive = [
        i["InstanceId"]
        for r in ec2.describe_instances()["Reservations"]
        for i in r["Instances"]
        if i["State"]["Name"] != "terminated"
    ]
    return {
        "instances": alive,
        "groups": scaling.describe_auto_scaling_groups()["AutoScalingGroups"],
        "networks": vpcs,
        "launch templates": ec2.describe_launch_templates()["LaunchTemplates"],
        "roles": client("iam").list_roles()["Roles"],
        "profiles": client("iam").list_instance_profiles()["InstanceProfiles"],
        "secrets": [
            p["Name"]
            for p in client("ssm").describe_parameters()["Parameters"]
            if p["Name"].startswith("/volseg")
        ],
        "logs": client("logs").describe_log_groups()["logGroups"],
        "disks": ec2.describe_volumes()["Volumes"],
        "buckets": [b["Name"] for b in client("s3").list_buckets()["Buckets"]],
    }


def test_up_run_down_leaves_nothing_but_the_bucket(aws: None) -> None:
    before = resources()
    stack = Stack("short-lived")
    stack.up(SETTINGS)
    stack.scale(2)
    bucket = stack.status().bucket
    client("s3").put_object(Bucket=bucket, Key="brain.zarr/zarr.json", Body=b"{}")
    assert stack.down() == bucket
    after = resources()
    assert after.pop("buckets") == [*before.pop("buckets"), bucket]
    assert after == before
    with pytest.raises(NotThereError, match="no stack short-lived"):
        stack.status()
    assert client("s3").get_object(Bucket=bucket, Key="brain.zarr/zarr.json")["Body"].read()


def test_up_after_down_finds_its_bucket_again(stack: Stack) -> None:
    bucket = stack.down()
    assert stack.up(SETTINGS).bucket == bucket


def test_to_create_it_the_images_and_an_address_are_needed(aws: None) -> None:
    with pytest.raises(InputError, match=r"HeadImage, WorkerImage, AlarmEmail.*--image"):
        Stack("not-yet").up(StackSettings())


@pytest.mark.parametrize("name", ["", "Lab", "a", "1lab", "lab_1", "lab-", "x" * 23])
def test_names_that_can_not_be(name: str) -> None:
    with pytest.raises(InputError, match="stack name"):
        Stack(name)


def test_a_stack_of_somebody_else_is_left_alone(aws: None) -> None:
    template = {"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}}
    client("cloudformation").create_stack(StackName="web", TemplateBody=json.dumps(template))
    for act in (Stack("web").down, lambda: Stack("web").up(SETTINGS)):
        with pytest.raises(ExistsError, match="not one of volseg's"):
            act()
