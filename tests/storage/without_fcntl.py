"""A child process as on a system without `fcntl`, or a disk without hard links: run as a program, by `test_systems`.

Arguments: what is missing ("fcntl", "link", both joined by "+", or "nothing"), a task, its arguments.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any


def take_away(missing: str) -> None:
    """Let this process be without something, before anything imports it."""
    if "fcntl" in missing:
        sys.modules["fcntl"] = None  # type: ignore[assignment]
    if "link" in missing:
        del os.link
    if "denied" in missing:

        def link(*_: Any, **__: Any) -> None:
            raise PermissionError(1, "Operation not permitted")

        os.link = link


def create_all(folder: str, me: str) -> None:
    """Try to create the same objects as others do; print those that this process created."""
    from volseg.errors import AlreadyWrittenError
    from volseg.storage import Store

    store, won = Store(folder), []
    for k in range(60):
        try:
            store.put_new(f"claims/{k}", me.encode() * 1000)
            won.append(str(k))
        except AlreadyWrittenError:
            assert len(store.get(f"claims/{k}")) == 1000  # never seen half written
    print(" ".join(won))


def count_up(folder: str, times: str) -> None:
    """Add 1 to a counter, by conditional puts."""
    from volseg.errors import ChangedError
    from volseg.storage import Store

    store, left = Store(folder), int(times)
    while left:
        found = store.get_with_etag("counter")
        assert found is not None
        try:
            store.put_if("counter", b"%d" % (int(found[0]) + 1), found[1])
            left -= 1
        except ChangedError:
            continue


def die_holding(folder: str) -> None:
    """Be killed in the middle of a put, its lock held."""
    from volseg.storage import Store, local

    def killed(*_: Any) -> None:
        print("held", flush=True)
        time.sleep(60)

    local.os.replace = killed  # type: ignore[assignment]
    Store(folder).put("counter", b"half")


def segment_and_edit(folder: str) -> None:
    """Segment, edit and undo."""
    import numpy as np

    from tests.pipelines.segmentation.volumes import make_truth, make_volume, point_prompts
    from volseg.images.image import open_volume
    from volseg.pipelines.segmentation import PlannedOracle, make_plan, run

    truth = make_truth((6, 40, 40), 1, seed=8)
    make_volume(f"{folder}/v.zarr", truth)
    volume = open_volume(f"{folder}/v.zarr", writable=True)
    oracle = PlannedOracle(kind="oracle", url=f"{folder}/v.zarr", name="truth")
    run(make_plan(volume, point_prompts(truth), labels="cells", model=oracle))
    labels = open_volume(f"{folder}/v.zarr", writable=True).labels["cells"]
    region = tuple((0, n) for n in truth.shape)
    before = labels.read(region)
    assert np.array_equal(before > 0, truth > 0)
    with labels.edit(annotator="me") as editor:
        editor[3, 1:4, 1:4] = 9
        editor.flush()
    assert (labels.read(region)[3, 1:4, 1:4] == 9).all()
    with labels.edit(annotator="me") as editor:
        editor[4, 1:4, 1:4] = 9
        editor.undo()
    assert (labels.read(region)[4] == before[4]).all()


if __name__ == "__main__":
    take_away(sys.argv[1])
    {f.__name__: f for f in (create_all, count_up, die_holding, segment_and_edit)}[sys.argv[2]](
        *sys.argv[3:]
    )
