"""Jobs: plan → blocks → ledger → run on Dask or in this process, resumable wherever it was interrupted.

Names load on first use, so that looking at runs or resuming a finished one imports neither Dask nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from volseg.jobs.cancel import Cancel
    from volseg.jobs.cluster import open_cluster
    from volseg.jobs.plan import Plan, PlannedOracle
    from volseg.jobs.planning import make_plan, make_plans
    from volseg.jobs.preparing import stored_plan
    from volseg.jobs.report import list_runs, show_run, verify_run
    from volseg.jobs.segmentation import RunResult, run, run_on_cluster, segment

__all__ = [
    "Cancel",
    "Plan",
    "PlannedOracle",
    "RunResult",
    "list_runs",
    "make_plan",
    "make_plans",
    "open_cluster",
    "run",
    "run_on_cluster",
    "segment",
    "show_run",
    "stored_plan",
    "verify_run",
]

_WHERE = {
    "Cancel": "cancel",
    "Plan": "plan",
    "PlannedOracle": "plan",
    "RunResult": "segmentation",
    "list_runs": "report",
    "make_plan": "planning",
    "make_plans": "planning",
    "open_cluster": "cluster",
    "run": "segmentation",
    "run_on_cluster": "segmentation",
    "segment": "segmentation",
    "show_run": "report",
    "stored_plan": "preparing",
    "verify_run": "report",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use (PEP 562)."""
    if name not in _WHERE:
        raise AttributeError(f"module 'volseg.jobs' has no attribute {name!r}")
    return getattr(import_module(f"volseg.jobs.{_WHERE[name]}"), name)
