"""What a worker opens once for an automatic job: image, labels, maps; and where the run's data lie."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.images.image import Volume, open_volume
from volseg.images.labels import Labels
from volseg.pipelines.automatic.plan import AutoPlan
from volseg.pipelines.bundles import unpacked

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext
    from volseg.predict.dense_volume import VolumeMaps

KEPT_SLICES = 24


class Opened:
    """Lazily opened parts of one plan."""

    def __init__(self, plan: AutoPlan) -> None:
        self.plan = plan
        self._fragments: OrderedDict[int, NDArray[np.int32]] = OrderedDict()

    @staticmethod
    def of(plan: AutoPlan, context: BlockContext) -> Opened:
        """That of this worker."""
        opened: Opened = context.resources.keep("opened", lambda: Opened(plan))
        return opened

    @cached_property
    def volume(self) -> Volume:
        """The image."""
        return open_volume(self.plan.url, self.plan.labels_at)

    @cached_property
    def labels(self) -> Labels:
        """The label image."""
        return self.volume.labels[self.plan.labels]

    @cached_property
    def maps(self) -> tuple[VolumeMaps, Callable[[], None]]:
        """The maps, and what waits until new embeddings are on the store."""
        from volseg.pipelines.automatic.open_maps import MapsOpener, check_digest

        opener = MapsOpener(self.volume, self.plan.source, self.plan.predictor)
        check_digest(opener.dense.spec, self.plan.maps.sha256)
        return opener.at(self.plan.maps.zoom)

    def fragments(self, z: int, context: BlockContext) -> NDArray[np.int32]:
        """Fragments (y, x) of a slice, as stored; those used last are kept, within bounds."""
        if z not in self._fragments:
            self._fragments[z] = unpacked(context.get(fragments_name(z)))["labels"]
            plane = 4 * self._fragments[z].size
            most = max(1, min(KEPT_SLICES, (64 << 20) // plane))
            while len(self._fragments) > most:
                self._fragments.popitem(last=False)
        self._fragments.move_to_end(z)
        return self._fragments[z]


def fragments_name(z: int) -> str:
    """Name of a slice's fragments among a run's data."""
    return f"fragments/z{z:06d}"


def tables_name(z: int) -> str:
    """Name of the table of a slice's fragments and of their contacts."""
    return f"tables/z{z:06d}"
