"""The way to a cluster, on a real Prefect server: runs are started, followed and taken up again, and masks come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_plugin.cluster import Cluster
from napari_plugin.clusterruns import ClusterRuns
from napari_plugin.trackstore import load_tasks
from tests.flows.prefect_server import prefect_server
from tests.napari_plugin.test_running import PROMPTS, TRUTH, Place, eventually, make
from volseg.errors import NotThereError
from volseg.images.image import open_volume
from volseg.prompts import parse_prompts

DEPLOYMENT = "segment_volume/volseg"


@pytest.mark.long
def test_runs_on_a_real_server_come_into_the_labels(s3_url: str, tmp_path: Path) -> None:
    url = make(f"{s3_url}/v.zarr")
    with prefect_server(tmp_path) as environment:
        cluster = Cluster(environment["PREFECT_API_URL"])
        assert cluster.deployments() == [DEPLOYMENT]
        with pytest.raises(NotThereError, match="no deployment"):
            cluster.start("segment_volume/other", {})
        started_followed_and_taken(url, cluster)
        taken_up_after_closing(url, cluster)
        failed_is_told(url, cluster)


def started_followed_and_taken(url: str, cluster: Cluster) -> None:
    """Object 1 goes to the cluster; its slices are shown as they are found, then they are in the labels."""
    place = Place(url)
    stages: list[str] = []
    place.running.changed.connect(lambda state: stages.append(state.stage))
    place.book.add(parse_prompts({**PROMPTS, "objects": PROMPTS["objects"][:1]}))  # type: ignore[index]
    runs = ClusterRuns(cluster, poll_s=0.2)
    place.running.propagate_on(runs, DEPLOYMENT).result(60)
    eventually(lambda: place.finished or place.errors, 240)
    assert not place.errors, place.errors
    assert place.finished[0][0] == (1,)
    assert np.array_equal(place.labels() == 1, TRUTH == 1)
    assert set(place.pieces) == set(range(10)) and "running" in stages
    assert load_tasks(place.editing.labels) == []
    place.editing.undo().result(20)
    assert not place.labels().any()  # one step of undo
    place.editing.redo().result(20)
    place.close()


def taken_up_after_closing(url: str, cluster: Cluster) -> None:
    """Object 2 is sent, napari closes, the flow run ends meanwhile, and the next napari takes what it found."""
    first = Place(url)
    first.book.add(parse_prompts({**PROMPTS, "objects": PROMPTS["objects"][1:]}))  # type: ignore[index]
    runs = ClusterRuns(cluster, poll_s=0.2)
    first.running.propagate_on(runs, DEPLOYMENT, ids=[2]).result(60)
    eventually(lambda: load_tasks(first.editing.labels))
    runs.close()
    (task,) = load_tasks(first.editing.labels)
    first.close()
    eventually(lambda: cluster.state(task.flow_run).ended, 240)
    assert cluster.state(task.flow_run).kind == "COMPLETED"
    assert not (np.asarray(open_volume(url).labels["cells"].levels[0]) == 2).any()

    second = Place(url)
    assert [one.name for one in second.running.take_up(ClusterRuns(cluster)).result(20)] == [
        task.name
    ]
    eventually(lambda: second.finished or second.errors)
    assert not second.errors, second.errors
    assert np.array_equal(second.labels(), TRUTH)
    assert load_tasks(second.editing.labels) == []
    second.close()
    assert np.array_equal(np.asarray(open_volume(url).labels["cells"].levels[0]), TRUTH)


def failed_is_told(url: str, cluster: Cluster) -> None:
    """A flow run that can't work ends with Prefect's own message, and is not asked about again."""
    place = Place(url)
    place.choice = type(place.choice)("no-such-model")
    extra = {"id": 3, "prompts": [{"z": 3, "points": [[44, 55, 1]]}]}
    place.book.add(parse_prompts({**PROMPTS, "objects": [extra]}))
    runs = ClusterRuns(cluster, poll_s=0.2)
    place.running.propagate_on(runs, DEPLOYMENT, ids=[3]).result(60)
    eventually(lambda: place.errors, 240)
    assert "FAILED" in str(place.errors[0]) or "CRASHED" in str(place.errors[0])
    assert "no-such-model" in str(place.errors[0])
    assert place.running.state.text == "failed"
    place.close()
