"""Benchmark `propagate`: CPU time per object and slice on 2048 x 2048 slices, with a SAM's decoder,
against the prompt encoder, the mask decoder and the up-sampling alone on the same prompts.

`python tests/bench/propagate.py [--model vit_b] [--objects 4] [--slices 8] [--rounds 3]` prints a
JSON line for each size. The decoder computes in full on both sides, with random weights: what it costs does not
depend on them. On volseg's side its logits are then replaced by those of true discs, so that there
is something to follow. Embeddings lie in memory, voxels in a Zarr store on the disk, from where volseg's
side reads them anew in each round; both sides compute on one thread.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench.embed import random_vit  # noqa: E402
from volseg.features.cache import EmbeddingCache  # noqa: E402
from volseg.features.reading import SlabReader  # noqa: E402
from volseg.features.rendering import Rendering  # noqa: E402
from volseg.features.tiling import Tile, Tiling  # noqa: E402
from volseg.images.create import create_volume  # noqa: E402
from volseg.images.image import Volume  # noqa: E402
from volseg.models.model import Model, TilePrompt  # noqa: E402
from volseg.models.registry import load_model  # noqa: E402
from volseg.models.spec import IOU_SCORES  # noqa: E402
from volseg.predict.slice_predictor import SamSlicePredictor  # noqa: E402
from volseg.propagation import Settings, Track, propagate  # noqa: E402

Asked = list[tuple[np.void, list[TilePrompt]]]


SIDES = (2048, 1388)
"""The second is as most slices are: no power of two, no multiple of a chunk."""


class Discs:
    """Objects that are discs drifting over the slices.

    Parameters
    ----------
    count, slices, side : int
        How many, over how many slices, of how many voxels a side.
    """

    def __init__(self, count: int, slices: int, side: int) -> None:
        rng = np.random.default_rng(0)
        self.shape = (slices, side, side)
        places = [((k // 4 + 0.5) / -(-count // 4), (k % 4 + 0.5) / 4) for k in range(count)]
        self.centres = np.array(places) * side + rng.uniform(-20, 20, (count, 2))
        self.drift = rng.uniform(-3, 3, (count, 2))
        self.radii = rng.uniform(25, 60, count)

    def depth(self, z: int, y: NDArray[Any], x: NDArray[Any], at: NDArray[Any]) -> NDArray[Any]:
        """Signed distance to the border of the disc nearest to `at`, positive inside."""
        centres = self.centres + self.drift * (z - self.shape[0] // 2)
        nearest = int(np.hypot(*(centres - at).T).argmin())
        cy, cx = centres[nearest]
        return np.asarray(self.radii[nearest] - np.hypot(y - cy, x - cx), np.float32)

    def seeds(self) -> dict[int, dict[int, NDArray[np.bool_]]]:
        """Every object's mask on the middle slice."""
        z = self.shape[0] // 2
        y, x = np.ogrid[: self.shape[1], : self.shape[2]]
        return {
            k + 1: {z: self.depth(z, y, x, centre) > 0} for k, centre in enumerate(self.centres)
        }


def write_image(discs: Discs, folder: str) -> Volume:
    """The discs as an image on the disk, brighter than what lies around them."""
    depth, height, width = discs.shape
    volume = create_volume(
        f"{folder}/v.zarr", axes="zyx", shape=discs.shape, dtype="uint8", scale_um=(1, 1, 1)
    )
    y, x = np.ogrid[:height, :width]
    image = np.full(discs.shape, 60, np.uint8)
    for z in range(depth):
        for centre in discs.centres + discs.drift * (z - depth // 2):
            image[z][discs.depth(z, y, x, centre) > 0] = 180
    volume.write(((0, depth), (0, height), (0, width)), image)
    return volume


class Guided:
    """A model whose decoder computes as ever, and then says what is true.

    The embeddings of `Labelled` tell it where it is looking.
    """

    def __init__(self, model: Model, discs: Discs, tiling: Tiling) -> None:
        self.model, self.discs, self.tiling = model, discs, tiling
        self.spec, self.mask_size = model.spec, model.mask_size
        self.asked: Asked = []

    def decode(
        self, embedding: np.void, prompts: Sequence[TilePrompt]
    ) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        self.asked.append((embedding, list(prompts)))
        answers = self.model.decode(embedding, prompts)
        place = embedding["image"][0, 0]
        z, tile = int(place[0]), self.tiling.tiles[int(place[1])]
        return [
            (self._true(z, tile, prompt, logits.shape), np.linspace(0.9, 0.7, len(scores)))
            for prompt, (logits, scores) in zip(prompts, answers, strict=True)
        ]

    def _true(
        self, z: int, tile: Tile, prompt: TilePrompt, shape: tuple[int, ...]
    ) -> NDArray[np.float32]:
        pitch = tile.size / self.mask_size
        at = (np.arange(self.mask_size) + 0.5) * pitch - 0.5
        middle = prompt.points[prompt.labels == 1].mean(0) if prompt.box is None else None
        if middle is None:
            assert prompt.box is not None
            middle = np.array([prompt.box[0] + prompt.box[2], prompt.box[1] + prompt.box[3]]) / 2
        where = np.array([tile.y0, tile.x0]) + middle[::-1] / self.tiling.scale
        depth = self.discs.depth(z, tile.y0 + at[:, None], tile.x0 + at[None], where)
        return np.stack([depth - 4 * k for k in range(shape[0])]).astype(np.float32)


class Labelled(EmbeddingCache):
    """Embeddings out of nothing, which hold their slice and tile."""

    def __init__(self, model: Model, depth: int) -> None:
        super().__init__(None, "memory", depth, model.spec.embedding_dtype)
        self._noise = np.zeros(1, self.dtype)
        shape = self._noise["image"].shape
        self._noise["image"] = np.random.default_rng(0).normal(0, 0.1, shape)

    def embedding(self, z: int, tile: Tile, encoder: Any) -> np.void:
        place = (z, tile.index)
        if place not in self._memory:
            self._memory[place] = self._noise.copy()
            self._memory[place]["image"][0, 0, 0, :2] = z, tile.index
        return self._memory[place][0]


def raw(model: Model, asked: Asked) -> float:
    """CPU seconds of the decoder of `segment_anything` and the up-sampling on what was asked."""
    sam, size = model.network.module, model.spec.img_size
    images = [torch.from_numpy(e["image"].astype(np.float32))[None] for e, _ in asked]
    position = sam.prompt_encoder.get_dense_pe()
    started = time.process_time()
    with torch.inference_mode():
        for image, (_, prompts) in zip(images, asked, strict=True):
            for prompt in prompts:
                points = None
                if len(prompt.points):
                    coordinates = torch.from_numpy(prompt.points)[None]
                    points = coordinates, torch.from_numpy(prompt.labels)[None]
                boxes = None if prompt.box is None else torch.tensor([prompt.box])
                sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=None)
                logits, _ = sam.mask_decoder(
                    image_embeddings=image,
                    image_pe=position,
                    sparse_prompt_embeddings=sparse,
                    dense_prompt_embeddings=dense,
                    multimask_output=True,
                )
                (sam.postprocess_masks(logits, (size, size), (size, size)) > 0).numpy()
    return time.process_time() - started


def followed(tracks: dict[int, Track], seeds: dict[int, Any]) -> int:
    """Slices on which an object was found, those prompted left out."""
    return sum(len(track) - len(seeds[i]) for i, track in tracks.items())


def run(model: Model, name: str, objects: int, slices: int, side: int, rounds: int) -> None:
    """Measure on some slices of side × side voxels, and print."""
    discs = Discs(objects, slices, side)
    tiling = Tiling(discs.shape[1:], model.spec.img_size)
    guided, cache = Guided(model, discs, tiling), Labelled(model, slices)
    rendering = Rendering(channels=(0,), low=(0.0,), high=(255.0,))
    seeds = discs.seeds()
    with tempfile.TemporaryDirectory() as folder:
        volume = write_image(discs, folder)

        def ours() -> tuple[float, int]:
            guided.asked.clear()
            started = time.process_time()
            reader = SlabReader(volume, 0, 0, (0,))
            predictor = SamSlicePredictor(cache, guided, tiling, rendering, discs.shape, reader)
            tracks = propagate(predictor, seeds, Settings(**IOU_SCORES))
            return time.process_time() - started, followed(tracks, seeds)

        ours()  # warm
        pairs = []
        for _ in range(rounds):
            seconds, found = ours()
            pairs.append((seconds, raw(model, guided.asked)))
    decodes = sum(len(prompts) for _, prompts in guided.asked)
    result = {
        "benchmark": "propagate",
        "target": {"ratio": 1.10},
        "model": name,
        "side": side,
        "ratio": round(statistics.median(a / b for a, b in pairs), 4),
        "ratios": sorted(round(a / b, 4) for a, b in pairs),
        "ms_per_object_and_slice": round(1e3 * statistics.median(a for a, _ in pairs) / found, 1),
        "ms_raw": round(1e3 * statistics.median(b for _, b in pairs) / found, 1),
        "decodes_per_object_and_slice": round(decodes / found, 2),
        "objects_and_slices": found,
        "expected": objects * (slices - 1),
    }
    print(json.dumps(result))


def main() -> None:
    """Run it, a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="vit_b", choices=["vit_b", "vit_l", "vit_h", "nano"])
    parser.add_argument("--objects", type=int, default=4)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--side", type=int, nargs="+", default=SIDES)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model("nano") if options.model == "nano" else random_vit(options.model)
    for side in options.side:
        run(model, options.model, options.objects, options.slices, side, options.rounds)


if __name__ == "__main__":
    main()
