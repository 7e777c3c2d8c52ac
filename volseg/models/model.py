"""A loaded model: images to embeddings, embeddings and prompts to mask logits, in batches of fixed
size.

A batch is always padded to the same size: what comes out for one image or prompt then does not
depend on which others were there. What computes is the network of a model's family; which weights these are lives
in `registry`; slices, tiles and caches live above.
"""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from volseg.errors import InputError
from volseg.models.spec import ModelSpec

logger = logging.getLogger(__name__)

CPU_BATCH = 1  # in larger ones a row's last bits depend on its place, and they are hardly faster
CUDA_DECODE_BATCH = 64


@dataclass(frozen=True, eq=False)
class TilePrompt:
    """A prompt in the pixels of one tile as the model sees it (0 to img_size).

    Parameters
    ----------
    points : ndarray (n, 2) float32
        x, y in pixels: 0.5 is the middle of the first one.
    labels : ndarray (n,) int
        1 inside the object, 0 outside.
    box : (x0, y0, x1, y1) or None
        Half-open, in pixels.
    mask : ndarray (4 h, 4 w) float32 or None
        Logits at the resolution of the low-resolution masks.
    """

    points: NDArray[np.float32]
    labels: NDArray[np.int64]
    box: tuple[float, float, float, float] | None = None
    mask: NDArray[np.float32] | None = None

    @property
    def form(self) -> tuple[int, bool, bool]:
        """What must be equal within a batch: number of points, whether there are a box and a
        mask.
        """
        return len(self.points), self.box is not None, self.mask is not None


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Prompts of one form, on the model's device.

    Parameters
    ----------
    points : Tensor (b, n, 2) float32 or None
        x, y in pixels, whole numbers being pixel centres.
    labels : Tensor (b, n) int64
        1 inside the object, 0 outside.
    boxes : Tensor (b, 4) float32 or None
        x0, y0, x1, y1.
    masks : Tensor (b, 1, 4 h, 4 w) float32 or None
        Logits.
    """

    points: torch.Tensor | None
    labels: torch.Tensor
    boxes: torch.Tensor | None
    masks: torch.Tensor | None

    @property
    def is_clear(self) -> bool:
        """Whether there is a box or more than one point: what leaves little doubt about the object."""
        return self.boxes is not None or self.labels.shape[1] > 1


class Network(Protocol):
    """What a family of models computes with; batches, precision and devices are the business of `Model`."""

    @property
    def module(self) -> torch.nn.Module:
        """All its parameters."""
        ...

    def embed(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the arrays (b, C, H, W) of `ModelSpec.arrays` from images (b, 3, S, S), float32 in 0..255."""
        ...

    def masks(
        self, embedding: dict[str, torch.Tensor], prompts: PromptBatch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute mask logits (b, k, M, M) and the model's own estimates (b, k) of their IoU.

        `embedding` is that of one image, each array (1, C, H, W) float32; M is `ModelSpec.mask_size`.
        """
        ...


@runtime_checkable
class Tunable(Protocol):
    """A network whose decoder can learn while its encoder, and with it every embedding, stays as it is."""

    @property
    def decoder(self) -> torch.nn.Module:
        """What makes masks and their scores of embeddings and prompts."""
        ...

    def masks(
        self, embedding: dict[str, torch.Tensor], prompts: PromptBatch
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Network.masks`; gradients reach the decoder."""
        ...


def tunable(network: Network, name: str) -> Tunable:
    """Return a network as one whose decoder can learn.

    Raises
    ------
    InputError
        It is not; `name` names the model.
    """
    if not isinstance(network, Tunable):
        raise InputError(f"the decoder of {name} can't be trained apart; use nano, or a SAM")
    return network


def precision(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return in what networks compute on a device: bfloat16 where the matrices are on a GPU, float32 elsewhere."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return contextlib.nullcontext()


class Model:
    """A promptable model with its weights, on a device.

    Parameters
    ----------
    spec : ModelSpec
        What it is; `spec.sha256` names the weights.
    network : Network
        What computes.
    device : str
        ``cpu``, ``cuda``, ``cuda:0`` ….
    encode_batch, decode_batch : int, optional
        Sizes that batches are padded to on a GPU; by default from its memory. They belong into a
        plan. On a CPU batches are of one.
    """

    def __init__(
        self,
        spec: ModelSpec,
        network: Network,
        device: str = "cpu",
        *,
        encode_batch: int | None = None,
        decode_batch: int | None = None,
        threads: int = 1,
    ) -> None:
        self.spec, self.threads = spec, threads
        self.device = torch.device(device)
        self.network = network
        network.module.to(self.device).eval().requires_grad_(False)
        if self.device.type == "cuda":
            self.encode_batch = encode_batch or self._fitting_batch()
            self.decode_batch = decode_batch or CUDA_DECODE_BATCH
        else:
            self.encode_batch = self.decode_batch = CPU_BATCH

    @property
    def mask_size(self) -> int:
        """Side of the low-resolution mask logits."""
        return self.spec.mask_size

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.void]:
        """Embed images.

        Parameters
        ----------
        images : ndarray (n, 3, S, S) uint8
            RGB, S being the model's `img_size`. Unused parts right and below are 0.

        Returns
        -------
        ndarray (n,) of records
            Of `ModelSpec.embedding_dtype`: a float16 array by each name of `ModelSpec.arrays`.
        """
        size = self.spec.img_size
        if images.ndim != 4 or images.shape[1:] != (3, size, size) or images.dtype != np.uint8:
            raise ValueError(
                f"images must be (n, 3, {size}, {size}) uint8, not {images.shape} {images.dtype}"
            )
        if self.device.type == "cpu":
            with _threads(self.threads) as available:
                return self._encode_side_by_side(images, max(1, available // self.threads))
        return self._encode_in_batches(images)

    def _encode_side_by_side(self, images: NDArray[np.uint8], workers: int) -> NDArray[np.void]:
        """One image at a time in each of some threads."""
        out = np.empty(len(images), self.spec.embedding_dtype)

        def encode(i: int) -> None:
            out[i] = self._encode_batch(images[i : i + 1])[0]

        if min(workers, len(images)) < 2:
            for i in range(len(images)):
                encode(i)
            return out
        with ThreadPoolExecutor(workers, "encode", torch.set_num_threads, (self.threads,)) as pool:
            list(pool.map(encode, range(len(images))))
        return out

    def _encode_in_batches(self, images: NDArray[np.uint8]) -> NDArray[np.void]:
        """Batches of fixed size, halved where the GPU's memory does not hold them."""
        out = np.empty(len(images), self.spec.embedding_dtype)
        first = 0
        while first < len(images):
            part = images[first : first + self.encode_batch]
            try:
                out[first : first + len(part)] = self._encode_batch(part)
            except torch.OutOfMemoryError:
                if self.encode_batch == 1:
                    raise
                self.encode_batch = max(1, self.encode_batch // 2)
                torch.cuda.empty_cache()
                logger.warning("out of GPU memory: encoding %d images at once", self.encode_batch)
                continue
            first += len(part)
        return out

    def _encode_batch(self, images: NDArray[np.uint8]) -> NDArray[np.void]:
        batch = np.zeros((self.encode_batch, *images.shape[1:]), np.uint8)
        batch[: len(images)] = images
        with torch.inference_mode(), precision(self.device):
            pixels = torch.from_numpy(batch).to(self.device, non_blocking=True).float()
            arrays = self.network.embed(pixels)
        limit = float(np.finfo(np.float16).max)
        found = np.empty(len(images), self.spec.embedding_dtype)
        for name, array in arrays.items():
            half = array[: len(images)].float().clamp(-limit, limit).to(torch.float16)
            found[name] = half.cpu().numpy()
        return found

    def decode(
        self, embedding: np.void, prompts: Sequence[TilePrompt]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Masks of prompts that share one embedding.

        Parameters
        ----------
        embedding : record
            Of one tile: one of what `encode` returns.
        prompts : sequence of TilePrompt
            Those of one form are decoded together, `decode_batch` at a time.

        Returns
        -------
        list of (logits, scores)
            In the order of `prompts`: logits (k, M, M) float32, M being `mask_size`, positive inside the mask, and
            the model's own estimates of their IoU (k,) float32 in 0..1.
        """
        results: list[Any] = [None] * len(prompts)
        groups: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
        for i, prompt in enumerate(prompts):
            groups[prompt.form].append(i)
        pinned = _threads(self.threads if self.device.type == "cpu" else None)
        with pinned, torch.inference_mode():
            image = {
                name: torch.from_numpy(embedding[name].astype(np.float32)).to(self.device)[None]
                for name, _ in self.spec.arrays
            }
            for members in groups.values():
                for first in range(0, len(members), self.decode_batch):
                    part = members[first : first + self.decode_batch]
                    logits, scores = self._decode_batch(image, [prompts[i] for i in part])
                    for row, i in enumerate(part):
                        results[i] = (logits[row], scores[row])
        return results

    def _decode_batch(
        self, image: dict[str, torch.Tensor], prompts: list[TilePrompt]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        full = prompts + [prompts[-1]] * (self.decode_batch - len(prompts))
        points, boxes, masks = (self._tensor(part) for part in _stacked(full))
        labels = self._tensor(np.stack([p.labels for p in full]))
        logits, scores = self.network.masks(image, PromptBatch(points, labels, boxes, masks))
        count = len(prompts)
        return (
            logits[:count].float().cpu().numpy(), scores[:count].float().clamp(0, 1).cpu().numpy()
        )  # fmt: skip

    def _tensor(self, array: NDArray[np.generic] | None) -> Any:
        return None if array is None else torch.from_numpy(array).to(self.device)

    def _fitting_batch(self) -> int:
        free, _ = torch.cuda.mem_get_info(self.device)
        return int(min(32, max(1, 0.7 * free // self.spec.cost.cuda_tile_bytes)))


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[int]:
    """Compute with this many CPU threads for a while (None: as it is); gives the number that there
    were.
    """
    before = torch.get_num_threads()
    if count is None or count == before:
        yield before
        return
    torch.set_num_threads(count)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def _stacked(prompts: list[TilePrompt]) -> tuple[NDArray[np.generic] | None, ...]:
    """Points (b, n, 2), boxes (b, 4) and masks (b, 1, h, w) of prompts of one form, float32.

    SAM adds 0.5 to coordinates itself, taking whole numbers for centres of pixels: it is taken off
    here.
    """
    count, boxed, masked = prompts[0].form
    half = np.float32(0.5)
    points = np.stack([p.points for p in prompts]).astype(np.float32) - half if count else None
    boxes = np.array([p.box for p in prompts], np.float32) if boxed else None
    masks = np.stack([p.mask for p in prompts])[:, None] if masked else None  # type: ignore[misc]
    return points, boxes, masks
