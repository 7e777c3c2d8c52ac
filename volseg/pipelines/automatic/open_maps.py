"""The dense model that a plan names, opened over the image: that of the planned model, or maps of true labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from volseg.errors import InputError, ModelUnavailableError
from volseg.features.tiling import Tiling
from volseg.models.dense import DenseModel, DenseSpec
from volseg.predict.dense_volume import VolumeMaps, blind_look, cached_look

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.models.model import Model
    from volseg.pipelines.segmentation.plan import PlannedModel, PlannedOracle, Source


def dense_spec(predictor: PlannedModel | PlannedOracle, source: Source) -> DenseSpec:
    """Return what is known of a predictor's dense model.

    Raises
    ------
    ModelUnavailableError
        It has none.
    """
    if predictor.kind == "oracle":
        return _of_truth(predictor, source).spec
    from volseg.models.dense_heads import find_dense
    from volseg.models.registry import find_planned

    return find_dense(find_planned(predictor.name, predictor.sha256))


class MapsOpener:
    """Opens maps at any zoom, the models loaded once.

    Parameters
    ----------
    volume, source, predictor
        As planned.
    """

    def __init__(
        self, volume: Volume, source: Source, predictor: PlannedModel | PlannedOracle
    ) -> None:
        self.volume, self.source, self.predictor = volume, source, predictor
        self._encoder: Model | None = None
        if predictor.kind == "oracle":
            self.dense: DenseModel = _of_truth(predictor, source)
            return
        from volseg.models.dense_heads import load_dense
        from volseg.models.registry import find_planned, load_model

        spec = find_planned(predictor.name, predictor.sha256)
        self._encoder = load_model(
            spec, encode_batch=predictor.encode_batch, decode_batch=predictor.decode_batch
        )
        self.dense = load_dense(self._encoder.spec)

    def at(self, zoom: float, *, in_memory: bool = False) -> tuple[VolumeMaps, Callable[[], None]]:
        """Return the maps at a zoom, and what waits until new embeddings are on the store."""
        from volseg.features.rendering import Rendering

        source = self.source
        tiling = Tiling(source.shape[1:], self.dense.spec.img_size, zoom)
        if self._encoder is None:
            return VolumeMaps(self.dense, blind_look(self.dense), tiling, source.shape[0]), _nothing
        assert self.predictor.kind == "sam"
        look, flush = cached_look(
            self.volume,
            self._encoder,
            Rendering.model_validate(self.predictor.rendering),
            tiling,
            level=source.level,
            time=source.time,
            in_memory=in_memory,
        )
        return VolumeMaps(self.dense, look, tiling, source.shape[0]), flush


def check_digest(found: DenseSpec, sha256: str) -> None:
    """Refuse another dense model than the plan's.

    Raises
    ------
    ModelUnavailableError
        The digests differ.
    """
    if found.sha256 != sha256:
        raise ModelUnavailableError(
            f"the dense maps of {found.name} here have SHA-256 {found.sha256}, but the plan was made with {sha256}; "
            "put those in place, or make a new plan"
        )


def _of_truth(predictor: PlannedOracle, source: Source) -> DenseModel:
    from volseg.images.image import open_volume
    from volseg.predict.dense_truth import TruthDenseModel

    truth = open_volume(predictor.url).labels[predictor.name]
    if truth.shape != source.shape:
        raise InputError(
            f"the true labels {truth.location} have {truth.shape} voxels (z, y, x), but the job is for {source.shape}"
        )
    return TruthDenseModel.of_labels(truth, min(source.time, truth.n_times - 1))


def _nothing() -> None:
    pass
