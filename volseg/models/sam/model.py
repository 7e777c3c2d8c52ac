"""A loaded model: images to embeddings, embeddings and prompts to mask logits, in batches of fixed
size.

A batch is always padded to the same size: what comes out for one image or prompt then does not
depend on which others were there. Which weights these are lives in `registry`; slices, tiles and
caches live above.
"""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything.build_sam import sam_model_registry
from segment_anything.modeling import Sam

from volseg.errors import ModelUnavailableError
from volseg.models.sam.attention import fuse
from volseg.models.spec import ModelSpec
from volseg.models.weights import fetch_weights
from volseg.progress import Progress

logger = logging.getLogger(__name__)

CPU_BATCH = 1  # in larger ones a row's last bits depend on its place, and they are hardly faster
CUDA_DECODE_BATCH = 64
CUDA_IMAGE_BYTES = {"vit_b": 1.0e9, "vit_l": 1.6e9, "vit_h": 2.2e9, "nano": 0.1e9}
_KIND_OF_WIDTH = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}


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


class Model:
    """A SAM with its weights, on a device.

    Parameters
    ----------
    spec : ModelSpec
        What it is; `spec.sha256` names the weights.
    sam : Sam
        ``segment_anything.modeling.Sam`` or one with the same parts.
    device : str
        ``cpu``, ``cuda``, ``cuda:0`` ….
    encode_batch, decode_batch : int, optional
        Sizes that batches are padded to on a GPU; by default from its memory. They belong into a
        plan. On a CPU batches are of one.
    """

    def __init__(
        self,
        spec: ModelSpec,
        sam: Sam,
        device: str = "cpu",
        *,
        encode_batch: int | None = None,
        decode_batch: int | None = None,
        threads: int = 1,
    ) -> None:
        self.spec, self.threads = spec, threads
        self.device = torch.device(device)
        self.sam = sam.to(self.device).eval().requires_grad_(False)
        fuse(self.sam)
        if self.device.type == "cuda":
            self.encode_batch = encode_batch or self._fitting_batch()
            self.decode_batch = decode_batch or CUDA_DECODE_BATCH
        else:
            self.encode_batch = self.decode_batch = CPU_BATCH
        with torch.inference_mode():
            self._image_pe = self.sam.prompt_encoder.get_dense_pe()

    @property
    def mask_size(self) -> int:
        """Side of the low-resolution mask logits."""
        return 4 * self.spec.embedding[1]

    def encode(self, images: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Embed images.

        Parameters
        ----------
        images : ndarray (n, 3, S, S) uint8
            RGB, S being the model's `img_size`. Unused parts right and below are 0.

        Returns
        -------
        ndarray (n, C, E, E) float16
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

    def _encode_side_by_side(self, images: NDArray[np.uint8], workers: int) -> NDArray[np.float16]:
        """One image at a time in each of some threads."""
        out = np.empty((len(images), *self.spec.embedding), np.float16)

        def encode(i: int) -> None:
            out[i] = self._encode_batch(images[i : i + 1])[0]

        if min(workers, len(images)) < 2:
            for i in range(len(images)):
                encode(i)
            return out
        with ThreadPoolExecutor(workers, "encode", torch.set_num_threads, (self.threads,)) as pool:
            list(pool.map(encode, range(len(images))))
        return out

    def _encode_in_batches(self, images: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Batches of fixed size, halved where the GPU's memory does not hold them."""
        out = np.empty((len(images), *self.spec.embedding), np.float16)
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

    def _encode_batch(self, images: NDArray[np.uint8]) -> NDArray[np.float16]:
        batch = np.zeros((self.encode_batch, *images.shape[1:]), np.uint8)
        batch[: len(images)] = images
        with torch.inference_mode(), self._precision():
            pixels = torch.from_numpy(batch).to(self.device, non_blocking=True).float()
            pixels = (pixels - self.sam.pixel_mean) / self.sam.pixel_std
            embedded = self.sam.image_encoder(pixels)[: len(images)]
        limit = float(np.finfo(np.float16).max)
        half = embedded.float().clamp(-limit, limit).to(torch.float16)
        return np.asarray(half.cpu().numpy())

    def decode(
        self, embedding: NDArray[np.float16], prompts: Sequence[TilePrompt]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Masks of prompts that share one embedding.

        Parameters
        ----------
        embedding : ndarray (C, E, E) float16
            Of one tile.
        prompts : sequence of TilePrompt
            Those of one form are decoded together, `decode_batch` at a time.

        Returns
        -------
        list of (logits, scores)
            In the order of `prompts`: logits (k, 4 E, 4 E) float32, positive inside the mask, and
            the model's own estimates of their IoU (k,) float32 in 0..1. k is 3; 4 for the official
            models where a box or several points leave little doubt, the last then being the mask
            that SAM trained for such prompts.
        """
        results: list[Any] = [None] * len(prompts)
        groups: dict[tuple[int, bool, bool], list[int]] = defaultdict(list)
        for i, prompt in enumerate(prompts):
            groups[prompt.form].append(i)
        pinned = _threads(self.threads if self.device.type == "cpu" else None)
        with pinned, torch.inference_mode():
            image = torch.from_numpy(embedding.astype(np.float32)).to(self.device)[None]
            for members in groups.values():
                for first in range(0, len(members), self.decode_batch):
                    part = members[first : first + self.decode_batch]
                    logits, scores = self._decode_batch(image, [prompts[i] for i in part])
                    for row, i in enumerate(part):
                        results[i] = (logits[row], scores[row])
        return results

    def _decode_batch(
        self, image: torch.Tensor, prompts: list[TilePrompt]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        full = prompts + [prompts[-1]] * (self.decode_batch - len(prompts))
        points, boxes, masks = (self._tensor(part) for part in _stacked(full))
        labels = self._tensor(np.stack([p.labels for p in full]))
        sparse, dense = self.sam.prompt_encoder(
            points=None if points is None else (points, labels), boxes=boxes, masks=masks
        )
        with self._precision():
            logits, scores = self.sam.mask_decoder.predict_masks(
                image_embeddings=image,
                image_pe=self._image_pe,
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
            )
        order = [1, 2, 3, 0] if self._takes_single(prompts[0]) else [1, 2, 3]
        logits = logits[: len(prompts), order].float().cpu().numpy()
        scores = scores[: len(prompts), order].float().clamp(0, 1).cpu().numpy()
        return logits, scores

    def _takes_single(self, prompt: TilePrompt) -> bool:
        count, boxed, _ = prompt.form
        return self.spec.kind.startswith("vit") and (boxed or count > 1)

    def _tensor(self, array: NDArray[np.generic] | None) -> Any:
        return None if array is None else torch.from_numpy(array).to(self.device)

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        if self.device.type == "cuda":
            return torch.autocast("cuda", dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def _fitting_batch(self) -> int:
        free, _ = torch.cuda.mem_get_info(self.device)
        per_image = CUDA_IMAGE_BYTES.get(self.spec.kind, CUDA_IMAGE_BYTES["vit_h"])
        return int(min(32, max(1, 0.7 * free // per_image)))


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


def load(
    spec: ModelSpec,
    *,
    device: str | None = None,
    progress: Progress | None = None,
    encode_batch: int | None = None,
    decode_batch: int | None = None,
    threads: int = 1,
) -> Model:
    """Fetch weights where needed, check their SHA-256, and load them (`weights_only=True`: no code
    is run).

    Raises
    ------
    ModelUnavailableError
        The weights can't be fetched, or are not a checkpoint of this kind.
    """
    path = fetch_weights(spec, progress)
    if spec.kind == "nano":
        from volseg.models import nano

        sam = nano.load(folder=path.parent)
    else:
        state = _read_state(path)
        kind = _kind_of(state, path) if spec.kind == "vit" else spec.kind
        sam = sam_model_registry[kind]()
        _fill(sam, state, path)
        spec = replace(spec, kind=kind)
    if spec.sha256 is None:
        from volseg.models.download import sha256_of

        spec = replace(spec, sha256=sha256_of(path))
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Model(
        spec, sam, chosen, encode_batch=encode_batch, decode_batch=decode_batch, threads=threads
    )


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a checkpoint, also where it wraps them as trainers do."""
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever it likes
        raise ModelUnavailableError(f"{path} is not a readable checkpoint: {error}") from error
    for key in ("model_state", "state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict):
        raise ModelUnavailableError(f"{path} holds no state dict")
    for prefix in ("module.", "sam."):
        state = {str(key).removeprefix(prefix): value for key, value in state.items()}
    return state


def _kind_of(state: dict[str, torch.Tensor], path: Path) -> str:
    embed = state.get("image_encoder.pos_embed")
    width = int(embed.shape[-1]) if isinstance(embed, torch.Tensor) else 0
    if width not in _KIND_OF_WIDTH:
        raise ModelUnavailableError(
            f"{path} is not a SAM checkpoint of the official format: its image encoder's width is "
            f"{width or 'not there'}, but 768 (vit_b), 1024 (vit_l) or 1280 (vit_h) was expected"
        )
    return _KIND_OF_WIDTH[width]


def _fill(sam: Sam, state: dict[str, torch.Tensor], path: Path) -> None:
    try:
        missing, _ = sam.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise ModelUnavailableError(f"{path} does not fit the model: {error}") from error
    if missing:
        raise ModelUnavailableError(
            f"{path} lacks {len(missing)} of the model's parameters, {missing[0]} among them"
        )
