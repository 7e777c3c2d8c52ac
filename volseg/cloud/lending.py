"""Workers lent to a job: asked for, waited for, let go at the end.

A flow on the head node needs one line::

    with lent_cluster(cluster, workers, say=logger.info) as address:
        run_on_cluster(plan, address)

Off EC2 that line does nothing. Nothing here imports boto3 or Dask before a stack is really asked.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from volseg.cloud.failures import CloudError
from volseg.cloud.fleet import Group

if TYPE_CHECKING:
    from distributed import Client

STACK, CLUSTER = "VOLSEG_STACK", "VOLSEG_CLUSTER"
"""What the head node sets for its flows: the stack's name, and its scheduler's address."""
LOOKING = "volseg-look"
"""Name of clients that only look; they need no workers."""
_CLOSING_S = 5.0

log = logging.getLogger(__name__)


@contextmanager
def lent_cluster(
    cluster: str | None = None,
    workers: int | None = None,
    *,
    at_least: int = 1,
    wait_s: float = 1200.0,
    say: Callable[[str], None] = log.info,
) -> Iterator[str | None]:
    """Give a flow its cluster: on a stack's head node with workers lent for as long as the block lasts.

    The head node sets ``VOLSEG_STACK`` and ``VOLSEG_CLUSTER`` (and the certificates' ``VOLSEG_TLS_…``) for every
    flow. Where they are not set, or `cluster` names something else (``"local"``, another address), nothing is asked
    for and `cluster` comes back as it was given. So a flow may always use this.

    Parameters
    ----------
    cluster
        As in `volseg.engine.open_cluster`. On a head node None is the stack's own scheduler, never the small head
        itself.
    workers
        On a stack: instances to ask for; None: what others asked for already, and at least one. Never lowers what
        is there.
    at_least
        How many Dask workers must have joined before the block begins; more may join while it runs.
    wait_s
        How long to wait for them, in seconds.
    say
        Is told what is waited for.

    Yields
    ------
    str or None
        What to open, for `volseg.engine.open_cluster` or `volseg.run`.

    Raises
    ------
    CloudError
        If too few workers came in time, or AWS refused.
    InputError
        If more were asked for than the stack allows (``volseg cloud up --max-workers``).
    """
    stack, own = os.environ.get(STACK), os.environ.get(CLUSTER)
    address = own if cluster is None else cluster
    if not stack or not own or address != own:
        yield cluster
        return
    from volseg.engine.cluster import open_cluster

    group = Group(stack)
    with (
        open_cluster(address) as client,
        lent_workers(group, client, workers or 1, at_least=at_least, wait_s=wait_s, say=say),
    ):
        yield address


@contextmanager
def lent_workers(
    group: Group,
    client: Client,
    workers: int,
    *,
    at_least: int = 1,
    wait_s: float = 1200.0,
    say: Callable[[str], None] = log.info,
    look_s: float = 5.0,
) -> Iterator[int]:
    """Ask for workers, wait until some have come, and let them go at the end, whatever happened.

    The last who needs the cluster lets the workers go: each retired one ends its own host, which lowers the
    desired capacity. While another job or person is connected nothing is retired; workers that nobody uses end
    themselves after the stack's idle minutes in any case.

    Parameters
    ----------
    group
        Of the stack.
    client
        Connected to the stack's scheduler.
    workers
        How many instances to ask for; never lowers what others asked for.
    at_least
        How many Dask workers must have come before the block starts.
    wait_s
        How long to wait for them, in seconds.
    say
        Is told what is waited for.
    look_s
        Seconds between two looks.

    Yields
    ------
    int
        Number of Dask workers there at the start.

    Raises
    ------
    CloudError
        If too few came in time.
    """
    try:
        if workers > group.capacity().desired:
            group.ask_for(workers)
        yield _wait_for(group, client, at_least, wait_s, say, look_s)
    finally:
        let_go(group, client)


def let_go(group: Group, client: Client) -> Sequence[str]:
    """Retire the idle workers, if nobody else is connected; returns their addresses.

    Instances that were asked for and never came are not waited for any longer.

    Parameters
    ----------
    group
        Of the stack.
    client
        Connected to the stack's scheduler.
    """
    deadline = time.monotonic() + _CLOSING_S  # the job's own client may be just closing
    while client.run_on_scheduler(needing, beside=client.id):
        if time.monotonic() > deadline:
            return []
        time.sleep(0.2)
    capacity = group.capacity()  # before any is retired: ending ones would be counted twice
    if capacity.desired > capacity.staying:
        group.ask_for(capacity.staying)
    busy = {address for address, tasks in client.processing().items() if tasks}
    idle = [address for address in _addresses(client) if address not in busy]
    if idle:
        client.retire_workers(idle, close_workers=True)
    return idle


def needing(dask_scheduler: Any, beside: str | None = None) -> int:
    """Return how many jobs and people are connected; runs on the scheduler.

    Parameters
    ----------
    dask_scheduler
        Given by Dask.
    beside
        Id of a client not to count, as are those that only look, tasks' own and Dask's.
    """
    nobody = ("Client-worker-", f"Client-{LOOKING}-", "fire-and-forget")
    return sum(not name.startswith(nobody) and name != beside for name in dask_scheduler.clients)


def _addresses(client: Client) -> list[str]:
    return sorted(client.scheduler_info(n_workers=-1)["workers"])


def _wait_for(
    group: Group,
    client: Client,
    at_least: int,
    wait_s: float,
    say: Callable[[str], None],
    look_s: float,
) -> int:
    deadline = time.monotonic() + wait_s
    while True:
        there = len(_addresses(client))
        if there >= at_least:
            return there
        capacity = group.capacity()
        say(f"{there} workers of {capacity.desired} there, {capacity.staying} instances started")
        if time.monotonic() >= deadline:
            raise CloudError(
                f"{there} of {at_least} workers came within {wait_s:.0f} s ({capacity.staying} "
                f"instances started, {capacity.desired} asked for). Often it is the account's "
                "quota for G instances, or no spot capacity: see the activity of "
                f"{group.name} in the EC2 console"
            )
        time.sleep(look_s)
