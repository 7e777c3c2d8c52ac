"""The stage that proposes: seeds in 3D among all fragments, written as the prompts that a person would have given."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.engine.block import Block
from volseg.errors import InputError
from volseg.pipelines.automatic.blocks import OneBlock
from volseg.pipelines.automatic.worker_context import Opened, tables_name
from volseg.pipelines.bundles import unpacked
from volseg.prompts.models import MAX_ID, Layer, Prompt, PromptedObject, PromptSet, RunLengthMask
from volseg.proposals.chains import matches, swellings
from volseg.proposals.seeds import seeds_of

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext

PROPOSALS = "proposals.json"
"""A prompts file among the run's data; empty where nothing was found."""


class SeedStage(OneBlock):
    """One block: finds the seeds and writes the proposals."""

    name = "seeds"

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Keep one fragment an object: where it is largest, large and sure enough, and not yet labelled."""
        plan = self.plan
        opened = Opened.of(plan, context)
        tables = [
            unpacked(context.get(tables_name(z)))["table"] for z in range(plan.source.shape[0])
        ]
        fragments = np.concatenate(tables)
        largest = fragments[self._largest(tables, opened, context)]
        seeds = largest[seeds_of(largest, plan.anisotropy)]
        large = seeds["area"] >= math.pi / 4 * plan.smallest**2
        seeds = seeds[large & (seeds["sure"] >= plan.confidence)]
        first = 1
        if plan.existing:
            seeds = seeds[_free(seeds, opened)]
            first = 1 + max((row.id for row in opened.labels.objects.rows()), default=0)
        if first + len(seeds) > MAX_ID:
            raise InputError(f"{len(seeds)} proposals from id {first} on pass the largest id")
        objects = [self._proposal(first + i, seed, opened, context) for i, seed in enumerate(seeds)]
        channels = plan.source.channels
        layer = Layer(name=plan.labels, channel=channels[0] if len(channels) == 1 else channels)
        text = PromptSet(layers=(layer,), objects=tuple(objects)).to_json() if objects else ""
        context.put(PROPOSALS, text.encode())
        return {"proposals": len(objects), "fragments": len(fragments)}

    def _largest(
        self, tables: list[NDArray[np.void]], opened: Opened, context: BlockContext
    ) -> NDArray[np.int64]:
        """Follow fragments from slice to slice, and return where each object is largest, as rows of all tables."""
        first = np.cumsum([0, *(len(table) for table in tables)])
        links = []
        for z in range(len(tables) - 1):
            if not len(tables[z]) or not len(tables[z + 1]):
                continue
            pairs = matches(opened.fragments(z, context), opened.fragments(z + 1, context))
            links += [(first[z] + a - 1, first[z + 1] + b - 1) for a, b in pairs.tolist()]
        areas = np.concatenate([table["area"] for table in tables])
        return swellings(areas, links, self.plan.anisotropy, len(tables))

    def _proposal(
        self, object_id: int, seed: np.void, opened: Opened, context: BlockContext
    ) -> PromptedObject:
        """One point at the deepest place, the fragment's box and its mask, in voxels of level 0."""
        source = self.plan.source
        z, y, x = (
            (float(seed[name]) + 0.5) * factor - 0.5
            for name, factor in zip("zyx", source.factors, strict=True)
        )
        _, fy, fx = source.factors
        top, left, bottom, right = (int(v) for v in seed["box"])
        mask = opened.fragments(int(seed["z"]), context) == seed["number"]
        prompt = Prompt(
            z=math.floor(z + 0.5),
            t=source.time,
            points=((y, x, 1),),
            box=(top * fy, left * fx, bottom * fy, right * fx),
            mask=RunLengthMask.encode(_enlarged(mask, opened.volume.shape[1:])),
        )
        return PromptedObject(id=object_id, prompts=(prompt,))


def _enlarged(mask: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask of a coarser level on the grid of level 0, nearest voxels."""
    if mask.shape == shape:
        return mask
    rows, columns = (
        np.minimum((np.arange(n) + 0.5) * m / n, m - 1).astype(np.int64)
        for n, m in zip(shape, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]


def _free(seeds: NDArray[np.void], opened: Opened) -> NDArray[np.bool_]:
    """Tell which seeds lie on no object of the label image that is added to."""
    height, width = opened.plan.source.shape[1:]
    free = np.ones(len(seeds), bool)
    for z in np.unique(seeds["z"]):
        at = np.flatnonzero(seeds["z"] == z)
        region = ((int(z), int(z) + 1), (0, height), (0, width))
        plane = opened.labels.read(region, time=opened.plan.source.time)[0]
        free[at] = plane[seeds["y"][at], seeds["x"][at]] == 0
    return free
