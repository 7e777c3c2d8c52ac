"""`volseg worker`: this machine's Dask workers, one per GPU, for a cluster of volseg's."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Annotated

import typer

from volseg.cli.options import expanded
from volseg.errors import InputError

ADDRESS = re.compile(r"(tcp|tls)://([^\s:/\[\]]+|\[[0-9a-fA-F:.%]+\]):\d{1,5}")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("worker")(_worker)


def _worker(
    scheduler: Annotated[
        str | None,
        typer.Argument(
            metavar="[ADDRESS]",
            help="tcp://host:port or tls://host:port; of the stack if left out.",
        ),
    ] = None,
    stack: Annotated[
        str | None, typer.Option(help="On EC2: the stack; certificates come from SSM.")
    ] = None,
    tls: Annotated[
        Path | None,
        typer.Option(
            parser=expanded, metavar="PATH", help="Folder with ca.pem, cert.pem and key.pem."
        ),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Workers; by default one per GPU, else one.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Blocks at a time per worker.")] = 1,
    memory: Annotated[str, typer.Option(help="Limit per worker, such as 14GB.")] = "auto",
    scratch: Annotated[
        Path | None,
        typer.Option(parser=expanded, metavar="PATH", help="Folder on a fast local disk."),
    ] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option(
            parser=expanded,
            metavar="PATH",
            help="Folder on a fast local disk for copies of embeddings that lie on S3.",
        ),
    ] = None,
    cache_bytes: Annotated[
        int | None, typer.Option(min=0, help="Most bytes of these copies; by default 100 GB.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Shown by the scheduler.")] = None,
    idle: Annotated[float, typer.Option(min=0, help="Leave after idle minutes; 0: never.")] = 0,
    wait: Annotated[float, typer.Option(min=0, help="Minutes to look for the scheduler.")] = 10,
    drain: Annotated[float, typer.Option(min=0, help="Seconds for running blocks to end.")] = 90,
) -> None:
    """Run this machine's workers until told to leave; running blocks are finished first."""
    from volseg.cloud.gpus import visible_gpus
    from volseg.cloud.host import Host
    from volseg.cloud.worker import WorkerSettings

    logging.getLogger("volseg.cloud").setLevel(logging.INFO)
    if scheduler is None and stack is None:
        raise InputError("which scheduler? Pass its address, or on EC2 --stack")
    if scheduler is not None and not ADDRESS.fullmatch(scheduler):
        raise InputError(f"{scheduler!r}: expected tcp://host:port or tls://host:port")
    guard = None
    if stack is not None:
        from volseg.cloud.fleet import join_stack

        joined = join_stack(stack, tls)
        scheduler, tls, guard = scheduler or joined.scheduler, joined.tls, joined.instance
    settings = WorkerSettings(
        str(scheduler),
        tls=tls,
        name=name,
        threads=threads,
        scratch=scratch,
        cache_dir=cache_dir,
        cache_bytes=cache_bytes,
        memory=memory,
        idle_s=idle * 60,
        wait_s=wait * 60,
        drain_s=drain,
    )
    gpus = visible_gpus() if processes is None else ()
    host = Host(settings, gpus=gpus, workers=processes or 1, guard=guard)
    with host.obeying_signals():
        why = host.run()
    typer.echo(f"left: {why}")
    if why in ("crashing", "scheduler-gone"):
        raise typer.Exit(1)
