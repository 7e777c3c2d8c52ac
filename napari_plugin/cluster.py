"""Runs on a cluster, through a deployment of volseg's flow on a Prefect server. Every call waits for the server.

Prefect is imported when first used: it takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from volseg.errors import InputError, NotThereError, VolsegError

FLOW = "segment_volume"


class ClusterError(VolsegError, RuntimeError):
    """The Prefect server can't be reached, or refused what was asked."""


@dataclass(frozen=True)
class FlowState:
    """How a flow run is: Prefect's type of state (``RUNNING``, ``COMPLETED``, …) and its message."""

    kind: str
    message: str = ""

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.kind in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Cluster:
    """A Prefect server.

    Parameters
    ----------
    api_url
        Of its API; None: as Prefect's own settings and environment say.
    """

    def __init__(self, api_url: str | None = None) -> None:
        self.api_url = api_url or None

    def deployments(self) -> list[str]:
        """The deployments of volseg's flow as ``flow/name``.

        Raises
        ------
        ClusterError
            The server does not answer.
        """
        _need_prefect()
        from prefect.client.schemas.filters import FlowFilter, FlowFilterName

        with self._client() as client:
            flows = FlowFilter(name=FlowFilterName(any_=[FLOW]))
            found = _asked(lambda: client.read_deployments(flow_filter=flows), self.place)
        return sorted(f"{FLOW}/{one.name}" for one in found)

    def start(self, deployment: str, parameters: Mapping[str, Any]) -> str:
        """Start a flow run; return its id.

        Raises
        ------
        NotThereError
            There is no such deployment.
        """
        _need_prefect()
        from prefect.exceptions import ObjectNotFound

        with self._client() as client:
            try:
                found = _asked(lambda: client.read_deployment_by_name(deployment), self.place)
            except ObjectNotFound:
                raise NotThereError(
                    f"no deployment {deployment} at {self.place}; deploy/prefect.yaml makes it"
                ) from None
            run = _asked(
                lambda: client.create_flow_run_from_deployment(
                    found.id, parameters=dict(parameters)
                ),
                self.place,
            )
        return str(run.id)

    def state(self, flow_run: str) -> FlowState:
        """How a flow run is."""
        from uuid import UUID

        with self._client() as client:
            run = _asked(lambda: client.read_flow_run(UUID(flow_run)), self.place)
        state = run.state
        if state is None:
            return FlowState("PENDING")
        return FlowState(state.type.value, state.message or "")

    def cancel(self, flow_run: str) -> None:
        """Ask for a flow run to stop."""
        from uuid import UUID

        _need_prefect()
        from prefect.states import Cancelling

        with self._client() as client:
            _asked(lambda: client.set_flow_run_state(UUID(flow_run), Cancelling()), self.place)

    @property
    def place(self) -> str:
        """The server's address, for people."""
        _need_prefect()
        from prefect.settings import PREFECT_API_URL

        return self.api_url or str(PREFECT_API_URL.value() or "")

    def _client(self) -> AbstractContextManager[Any]:
        _need_prefect()
        from prefect.client.orchestration import SyncPrefectClient, get_client

        if not self.place:
            raise InputError(
                "no Prefect server is chosen: give its API address, as http://host:4200/api, or set PREFECT_API_URL"
            )
        if self.api_url:
            return SyncPrefectClient(self.api_url)
        client: AbstractContextManager[Any] = get_client(sync_client=True)
        return client


def _need_prefect() -> None:
    if find_spec("prefect") is None:
        raise InputError(
            "runs on a cluster go through Prefect, which is not installed: pip install 'volseg[flows]'"
        )


def _asked(request: Any, place: str) -> Any:
    from httpx import HTTPError
    from prefect.exceptions import ObjectNotFound

    try:
        return request()
    except ObjectNotFound:
        raise
    except (HTTPError, OSError) as error:
        raise ClusterError(
            f"the Prefect server at {place} does not answer ({type(error).__name__}: {error}); check the address, "
            "and that the server and its worker run"
        ) from error


def check_reachable(url: str) -> None:
    """Raise InputError where a cluster could not see a place: a path of this machine."""
    if not url.startswith("s3://"):
        raise InputError(
            f"{url} is on this machine; a cluster reads and writes s3:// places (for a shared file system choose "
            "'here', or start `volseg segment` on it)"
        )
