"""`volseg cloud`: the stack on EC2, from up to down, and the head node's program."""

from __future__ import annotations

import json
import logging
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from volseg.cli.options import AsJson, expanded
from volseg.errors import InputError

Name = Annotated[str, typer.Option("--stack", envvar="VOLSEG_STACK", help="Name of the stack.")]
Region = Annotated[str | None, typer.Option(help="AWS region; by default the profile's.")]
Yes = Annotated[bool, typer.Option("--yes", help="Don't ask.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    room = typer.Typer(no_args_is_help=True, help="A cluster on EC2 in your own account.")
    for name, command in (
        ("up", _up),
        ("status", _status),
        ("scale", _scale),
        ("down", _down),
        ("costs", _costs),
        ("certs", _certs),
    ):
        room.command(name)(command)
    room.command("head", hidden=True)(_head)
    app.add_typer(room, name="cloud")


def _up(
    stack: Name = "volseg",
    image: Annotated[str | None, typer.Option(help="Container image of the head node.")] = None,
    worker_image: Annotated[str | None, typer.Option(help="Container image of workers.")] = None,
    email: Annotated[str | None, typer.Option(help="Who hears of the budget.")] = None,
    budget: Annotated[int | None, typer.Option(min=1, help="US dollars a month.")] = None,
    worker_type: Annotated[str | None, typer.Option(help="First choice for workers.")] = None,
    head_type: Annotated[str | None, typer.Option(help="The head node's type.")] = None,
    max_workers: Annotated[int | None, typer.Option(min=1, help="Upper bound.")] = None,
    on_demand: Annotated[int | None, typer.Option(min=0, help="So many before spot.")] = None,
    idle_minutes: Annotated[int | None, typer.Option(min=1, help="Then a worker ends.")] = None,
    head_idle_hours: Annotated[int | None, typer.Option(min=0, help="Then the head stops.")] = None,
    yes: Yes = False,
    region: Region = None,
) -> None:
    """Create the stack, update it, or start its head again; the first time with the images."""
    from volseg.cloud.stack import Stack, StackSettings

    found = Stack(stack, region)
    settings = StackSettings(
        image=image,
        worker_image=worker_image,
        email=email,
        budget=budget,
        worker_type=worker_type,
        head_type=head_type,
        max_workers=max_workers,
        on_demand=on_demand,
        idle_minutes=idle_minutes,
        head_idle_hours=head_idle_hours,
    )
    if found.touches_head(settings) and (running := found.status().interrupts()):
        _ask(running, yes)
    _tell(found.up(settings))


def _status(stack: Name = "volseg", region: Region = None, as_json: AsJson = False) -> None:
    """Tell what there is and what runs."""
    from volseg.cloud.stack import Stack

    status = Stack(stack, region).status()
    if as_json:
        typer.echo(json.dumps(asdict(status)))
    else:
        _tell(status)


def _scale(
    workers: Annotated[int, typer.Argument(min=0, help="Number of workers.")],
    stack: Name = "volseg",
    yes: Yes = False,
    region: Region = None,
) -> None:
    """Ask for so many workers; those too many drain first."""
    from volseg.cloud.stack import Stack

    found = Stack(stack, region)
    status = found.status()
    there = 0 if status.capacity is None else status.capacity.staying
    if workers < there and status.activity is not None and status.activity.tasks:
        _ask([f"{there - workers} of {there} workers, while", *status.activity.describe()], yes)
    before = found.scale(workers)
    typer.echo(f"{stack}: {before.desired} → {workers} workers")


def _down(stack: Name = "volseg", yes: Yes = False, region: Region = None) -> None:
    """Delete everything but the bucket; asks where something runs."""
    from volseg.cloud.stack import Stack

    found = Stack(stack, region)
    running = found.status().interrupts()
    if running:
        _ask(running, yes)
    bucket = found.down()
    typer.echo(f"{stack} is deleted; the bucket {bucket} and what is in it stay")


def _ask(running: list[str], yes: bool) -> None:
    """Say what would be interrupted, and go on only with a yes."""
    typer.echo(f"this interrupts: {', '.join(running)} (resumable with --resume)", err=True)
    if yes:
        return
    if not _somebody_is_there():
        raise InputError("nothing was changed: nobody to ask; wait, or pass --yes")
    if not typer.confirm("Go on?", err=True):
        raise typer.Exit(1)


def _somebody_is_there() -> bool:
    return sys.stdin.isatty()


def _costs(stack: Name = "volseg", region: Region = None, as_json: AsJson = False) -> None:
    """Tell what runs now costs an hour, and what stays costs a month."""
    from volseg.cloud.costs import bucket_bytes, running_costs
    from volseg.cloud.prices import load_prices
    from volseg.cloud.stack import Stack

    status = Stack(stack, region).status()
    costs = running_costs(status, load_prices(), bucket_bytes(status.bucket, region))
    typer.echo(json.dumps(asdict(costs)) if as_json else costs.describe())


def _certs(
    stack: Name = "volseg",
    out: Annotated[
        Path | None,
        typer.Option(parser=expanded, metavar="PATH", help="Folder for this person's own."),
    ] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Replace all; then restart head and workers.")
    ] = False,
    yes: Yes = False,
    region: Region = None,
) -> None:
    """Make the cluster's certificates, or write those of a client into a folder."""
    from volseg.cloud.certs import TlsFiles, expires
    from volseg.cloud.stack import Stack

    found = Stack(stack, region)
    if renew and not yes:
        _ask(["every connection, until head and workers are restarted"], yes)
    found.make_secrets(renew=renew)
    identity = found.vault.identity("client")
    typer.echo(f"certificates of {stack} end on {expires(identity.certificate).date()}")
    if out is not None:
        files = TlsFiles.in_folder(identity.write(out))
        for variable, path in list(files.environment().items())[:3]:
            typer.echo(f"export {variable}={path.resolve() if isinstance(path, Path) else path}")


def _head(
    stack: Name = "volseg",
    address: Annotated[
        str | None, typer.Option(help="On which the scheduler listens; by default this host's.")
    ] = None,
    bucket: Annotated[str | None, typer.Option(help="Told what goes on.")] = None,
    state: Annotated[
        Path, typer.Option(parser=expanded, metavar="PATH", help="Kept folder.")
    ] = Path("/var/lib/volseg"),
    idle: Annotated[float, typer.Option(min=0, help="Stop after idle hours; 0: never.")] = 0,
    look: Annotated[float, typer.Option(min=1, help="Seconds between two looks.")] = 30,
) -> None:
    """Run scheduler, Prefect server and Prefect worker; what the head node's container does."""
    from volseg.cloud.activity import Activity, write_activity
    from volseg.cloud.failures import aws_client, telling
    from volseg.cloud.fleet import private_folder
    from volseg.cloud.head import SCHEDULER_PORT, Head, head_programs, look_at_scheduler
    from volseg.cloud.head import running_flows as flows
    from volseg.cloud.metadata import Metadata
    from volseg.cloud.stack import PREFECT
    from volseg.cloud.vault import Vault

    logging.getLogger("volseg.cloud").setLevel(logging.INFO)
    metadata = Metadata()
    region, address = metadata.region(), address or metadata.address()
    vault = Vault(aws_client("ssm", region), stack)
    tls = vault.identity("head").write(private_folder())
    password = vault.get(PREFECT)
    scheduler = f"tls://{address}:{SCHEDULER_PORT}"

    def seen() -> Activity:
        return Activity.now(*look_at_scheduler(scheduler, tls), flows(password))

    def tell(activity: Activity) -> None:
        if bucket is not None:
            write_activity(aws_client("s3", region), bucket, stack, activity)

    (state / "prefect").mkdir(mode=0o700, parents=True, exist_ok=True)  # Prefect's database
    programs = head_programs(stack, address, tls, password, state)
    head = Head(programs, seen, tell, idle_s=idle * 3600, look_s=look)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: head.stop())
    if head.run() == "idle":
        with telling("stopping the idle head node"):
            aws_client("ec2", region).stop_instances(InstanceIds=[metadata.instance_id()])


def _tell(status: Any) -> None:
    capacity, activity = status.capacity, status.activity
    workers = "none" if capacity is None else f"{capacity.staying} of {capacity.desired} asked for"
    lines = {
        "stack": f"{status.name} ({status.state})",
        "head": f"{status.head} ({status.head_kind}, {status.head_state})",
        "scheduler": status.scheduler,
        "workers": workers if capacity is None else f"{workers}, at most {capacity.most}",
        "bucket": status.bucket,
        "certificates": f"end on {status.certificates_end}",
        "running": ", ".join(status.interrupts()) or "nothing",
        "told": None if activity is None else f"{activity.age_s:.0f} s ago",
    }
    for name, value in lines.items():
        if value is not None:
            typer.echo(f"{name:13} {value}")
