"""The live preview: the slice in view, classified by the strokes as they are now, on a thread of its own."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.pipelines.pixels.options import PixelTrainOptions

if TYPE_CHECKING:
    from volseg.classify.voxels.classifier import VoxelClassifier
    from volseg.classify.voxels.features import VoxelFeatures
    from volseg.classify.voxels.samples import Samples
    from volseg.classify.voxels.strokes import Strokes
    from volseg.images.image import Volume

Range = tuple[int, int]
Place = tuple[int, Range, Range]
KEPT_BYTES = 512 << 20
"""Most bytes of features of places in view that are kept."""
THREADS = 2


@dataclass(frozen=True)
class Seen:
    """A part of a slice, classified.

    Parameters
    ----------
    z, rows, columns
        Which, in voxels of the scribbles.
    classes
        (y, x) uint8 class numbers.
    probabilities
        (classes, y, x) float32, in the order of ascending class numbers.
    entropy
        (y, x) float32 in 0..1.
    """

    z: int
    rows: Range
    columns: Range
    classes: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    entropy: NDArray[np.float32]


class Preview:
    """Classifies places in view; a newer request cancels an older one that is not done.

    Its trees are fewer and smaller than those of `train`, so that an answer comes while one looks.

    Parameters
    ----------
    volume
        The image, opened or as a path or URL.
    scribbles
        Name of its label image of class numbers.
    time
        Time index.
    options, choices
        As `volseg.pipelines.pixels.options.PixelTrainOptions`.
    """

    def __init__(
        self,
        volume: Volume | str,
        scribbles: str,
        *,
        time: int = 0,
        options: PixelTrainOptions | None = None,
        **choices: Any,
    ) -> None:
        from volseg.images.image import Volume, open_volume

        self._volume = volume if isinstance(volume, Volume) else open_volume(volume)
        self._name, self._time = scribbles, time
        self._options = options or PixelTrainOptions.of(**choices)
        self._features: VoxelFeatures | None = None
        self._known: dict[tuple[int, int, int], NDArray[np.float32]] = {}
        self._trained: tuple[bytes, VoxelClassifier] | None = None
        self._planes: OrderedDict[Place, NDArray[np.float32]] = OrderedDict()
        self._newest = 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pixels-preview")

    def request(self, z: int, rows: Range, columns: Range) -> Future[Seen]:
        """Ask for a part of a slice by the strokes as they are now; returns at once.

        Parameters
        ----------
        z, rows, columns
            Half-open voxel ranges of the scribbles.

        Returns
        -------
        Future
            Of `Seen`; cancelled (`concurrent.futures.CancelledError`) where a newer request came before it was done.
            `InputError` where the place is not inside, or fewer than two classes have strokes.
        """
        with self._lock:
            self._newest += 1
            number = self._newest
        place = (z, (rows[0], rows[1]), (columns[0], columns[1]))
        return self._pool.submit(self._answer, number, place)

    def close(self) -> None:
        """Cancel what was asked for, and end the thread."""
        with self._lock:
            self._newest += 1
        self._pool.shutdown(cancel_futures=True)
        if self._features is not None:
            self._features.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- on the thread ---------------------------------------------------------------------------------------------

    def _answer(self, number: int, place: Place) -> Seen:
        from volseg.uncertainty.entropy import entropy

        self._go_on(number)
        classifier = self._classifier(number)
        self._go_on(number)
        planes = self._planes_of(place)
        self._go_on(number)
        found = classifier.probabilities(planes, threads=THREADS)
        self._go_on(number)
        classes = classifier.numbers[found.argmax(axis=0)].astype(np.uint8)
        return Seen(*place, classes, found, entropy(found))

    def _go_on(self, number: int) -> None:
        """Stop here where a newer request came."""
        if number != self._newest:
            raise CancelledError

    def _classifier(self, number: int) -> VoxelClassifier:
        """Return the classifier of the strokes as they are; trained anew only where they changed."""
        from volseg.classify.voxels.classifier import VoxelClassifier
        from volseg.classify.voxels.strokes import read_strokes
        from volseg.images.labels import open_labels

        labels = open_labels(self._volume, self._name)
        strokes = read_strokes(labels)
        said = strokes.places.tobytes() + strokes.classes.tobytes()
        if self._trained is None or self._trained[0] != said:
            samples = self._samples(strokes)
            self._go_on(number)
            definition = self._opened().definition
            self._trained = (
                said,
                VoxelClassifier.train(samples, definition, labels.classes, live=True),
            )
        return self._trained[1]

    def _samples(self, strokes: Strokes) -> Samples:
        """Return the samples of all strokes; features are computed for voxels that are new."""
        from volseg.classify.voxels.samples import Samples, sample
        from volseg.classify.voxels.strokes import Strokes

        here = strokes.places[:, 0] == self._time
        places = [tuple(place) for place in strokes.places[here, 1:].tolist()]
        fresh = np.array([place not in self._known for place in places], bool)
        if fresh.any():
            chosen = np.flatnonzero(here)[fresh]
            part = Strokes(strokes.places[chosen], strokes.classes[chosen], strokes.strokes[chosen])
            made = sample(part, self._opened(), self._time).features
            rows = zip(np.flatnonzero(fresh).tolist(), made, strict=True)
            self._known |= {places[i]: row for i, row in rows}
        self._known = {place: self._known[place] for place in places}
        width = len(self._opened().definition.names)
        features = np.array([self._known[p] for p in places], np.float32).reshape(-1, width)
        return Samples(features, strokes.classes[here], strokes.strokes[here])

    def _planes_of(self, place: Place) -> NDArray[np.float32]:
        features = self._opened()
        z, rows, columns = place
        for given, n in zip(((z, z + 1), rows, columns), features.shape, strict=True):
            if not 0 <= given[0] < given[1] <= n:
                raise InputError(f"{place} does not lie inside {features.shape} voxels (z, y, x)")
        if place not in self._planes:
            self._planes[place] = features.of_slice(z, rows, columns)
            while (
                len(self._planes) > 1 and sum(p.nbytes for p in self._planes.values()) > KEPT_BYTES
            ):
                self._planes.popitem(last=False)
        self._planes.move_to_end(place)
        return self._planes[place]

    def _opened(self) -> VoxelFeatures:
        from volseg.pipelines.pixels.training import features_of

        if self._features is None:
            self._features = features_of(self._volume, self._name, self._time, self._options)
        return self._features


__all__ = ["Preview", "Seen"]
