"""The stages that make tracks: seeds from prompts, chains of windows up and down, both directions settled into one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

from volseg.engine.block import Block
from volseg.pipelines.segmentation.groups import Found, TrackEntry
from volseg.pipelines.segmentation.sam import flush
from volseg.pipelines.segmentation.track_state import pack, unpack
from volseg.pipelines.segmentation.worker_context import Opened, read_seeds, seeds_name, track_name
from volseg.propagation import (
    SliceKind,
    State,
    Track,
    TrackSlice,
    advance,
    merge_all,
    seed_masks,
    settle,
    start_states,
)

if TYPE_CHECKING:
    from volseg.engine.worker import BlockContext
    from volseg.pipelines.segmentation.plan import Plan

UP, DOWN = 1, -1


class _OfGroups:
    """What the stages that ask the model share: blocks of groups of objects.

    Parameters
    ----------
    plan
        Of the job.
    groups
        Object ids of each group.
    found
        What the driver learned from markers.
    """

    uses_gpu = True
    reads_results = True

    def __init__(self, plan: Plan, groups: Sequence[Sequence[int]], found: Found) -> None:
        self.plan = plan
        self.groups = groups
        self.found = found


class SeedStage(_OfGroups):
    """One block per group: the masks on the prompted slices."""

    name = "seed"

    def first(self, known: Set[str]) -> Iterable[Block]:
        """One block per group."""
        return (Block(self.name, f"g{g:06d}", {"group": g}) for g in range(len(self.groups)))

    def total(self) -> int:
        """Number of groups."""
        return len(self.groups)

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        """Note where the seeds are."""
        self.found.seeds |= {int(i): list(zs) for i, zs in result["seeds"].items()}
        self.found.seed_digests[block.payload["group"]] = result["digest"]
        return ()

    def failed(self, block: Block) -> None:
        """Give the group up."""
        self.found.broken.add(block.payload["group"])

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Ask the model for the masks under the prompts of a group's objects."""
        from volseg.propagation import Context

        opened = Opened.of(self.plan, context)
        prompts = opened.prompts
        members = self.groups[block.payload["group"]]
        masks = seed_masks(
            opened.predictor,
            {i: prompts.prompts[i] for i in members},
            self.plan.settings,
            context=Context(prompts.prompts, None, prompts.ends),
        )
        flush(opened.predictor)
        tracks = {
            i: Track(
                self.plan.source.shape,
                {
                    z: TrackSlice.of(mask, confidence, SliceKind.SEED)
                    for z, (mask, confidence) in of.items()
                    if mask.area
                },
            )
            for i, of in masks.items()
        }
        parts = {f"{i:010d}": track.to_bytes() for i, track in tracks.items()}
        output = context.put(seeds_name(block.payload["group"]), pack(parts))
        seeds = {str(i): track.slices for i, track in tracks.items() if len(track)}
        return {"seeds": seeds, "digest": output.digest}


class PropagateStage(_OfGroups):
    """Chains of blocks: a group of objects × a window of slices, upward and downward."""

    name = "propagate"

    def __init__(self, plan: Plan, groups: Sequence[Sequence[int]], found: Found) -> None:
        super().__init__(plan, groups, found)
        self._ahead: dict[tuple[int, int], int] = {}  # most windows that a chain may still go

    def first(self, known: Set[str]) -> Iterable[Block]:
        """The first window of each group in each direction."""
        inputs = self.found.seeds_digest()
        window = self.plan.geometry.window
        for group, members in enumerate(self.groups):
            if group in self.found.broken:
                continue
            zs = [z for i in members for z in self.found.seeds.get(i, ())]
            for direction in (UP, DOWN):
                self.found.windows[group, direction] = []
                if zs:
                    start = (min(zs) if direction == UP else max(zs)) // window
                    self._note_ahead(group, direction, start)
                    yield self._block(group, direction, start, None, inputs)

    def total(self) -> int:
        """Windows gone through and, at most, still ahead."""
        return sum(map(len, self.found.windows.values())) + sum(self._ahead.values())

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        """The next window, unless all objects of the group have ended."""
        group, direction = block.payload["group"], block.payload["direction"]
        self.found.windows[group, direction].append(block.payload["window"])
        if result["next"] is None:
            self._ahead.pop((group, direction), None)
            return ()
        self._note_ahead(group, direction, result["next"])
        return [
            self._block(group, direction, result["next"], block.payload["window"], block.inputs)
        ]

    def failed(self, block: Block) -> None:
        """Give the group up."""
        self.found.broken.add(block.payload["group"])
        self._ahead.pop((block.payload["group"], block.payload["direction"]), None)

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Advance a group's objects over a window of slices."""
        plan, payload = self.plan, block.payload
        opened = Opened.of(plan, context)
        direction = payload["direction"]
        depth, length = plan.source.shape[0], plan.geometry.window
        window = range(payload["window"] * length, min(depth, (payload["window"] + 1) * length))
        pieces, states = advance(
            opened.predictor,
            self._states(payload, context),
            window,
            direction,
            opened.context(block.inputs, len(self.groups), context),
            plan.settings,
        )
        flush(opened.predictor)
        parts = {f"piece/{i:010d}": piece.to_bytes() for i, piece in pieces.items() if len(piece)}
        going = {i: state for i, state in states.items() if not state.finished}
        parts |= {f"state/{i:010d}": state.to_bytes() for i, state in going.items()}
        context.put(piece_name(payload["group"], direction, payload["window"]), pack(parts))
        return {"next": self._next(going.values(), direction)}

    def _states(self, payload: Mapping[str, Any], context: BlockContext) -> dict[int, State]:
        group, direction, before = payload["group"], payload["direction"], payload["before"]
        if before is None:
            return start_states(read_seeds(group, context), direction)
        parts = unpack(context.get(piece_name(group, direction, before)))
        return {
            int(name.removeprefix("state/")): State.from_bytes(data)
            for name, data in parts.items()
            if name.startswith("state/")
        }

    def _next(self, going: Iterable[State], direction: int) -> int | None:
        """The next window that any object has something to do in."""
        ahead = [state.next_z for state in going if 0 <= state.next_z < self.plan.source.shape[0]]
        if not ahead:
            return None
        return (min(ahead) if direction == UP else max(ahead)) // self.plan.geometry.window

    def _block(
        self, group: int, direction: int, window: int, before: int | None, inputs: str
    ) -> Block:
        payload = {"group": group, "direction": direction, "window": window, "before": before}
        way = "up" if direction == UP else "down"
        return Block(self.name, f"g{group:06d}-{way}-{window:05d}", payload, inputs)

    def _note_ahead(self, group: int, direction: int, window: int) -> None:
        count = -(-self.plan.source.shape[0] // self.plan.geometry.window)
        self._ahead[group, direction] = count - window if direction == UP else window + 1


class SettleStage(_OfGroups):
    """One block per group: both directions of each object joined, its track stored, its places noted."""

    name = "settle"

    def first(self, known: Set[str]) -> Iterable[Block]:
        """The groups whose chains have all ended."""
        inputs = self.found.seeds_digest()
        for group in range(len(self.groups)):
            if group in self.found.broken:
                continue
            payload = {
                "group": group,
                "up": self.found.windows.get((group, UP), []),
                "down": self.found.windows.get((group, DOWN), []),
            }
            yield Block(self.name, f"g{group:06d}", payload, inputs)

    def total(self) -> int:
        """Number of groups that are whole."""
        return len(self.groups) - len(self.found.broken)

    def ended(self, block: Block, result: Mapping[str, Any]) -> Sequence[Block]:
        """Note the tracks."""
        for value in result["tracks"]:
            entry = TrackEntry.from_json(value)
            self.found.tracks[entry.id] = entry
        return ()

    def failed(self, block: Block) -> None:
        """Give the group up."""
        self.found.broken.add(block.payload["group"])

    def compute(self, block: Block, context: BlockContext) -> dict[str, Any]:
        """Settle each object of a group."""
        opened = Opened.of(self.plan, context)
        group = block.payload["group"]
        whole = opened.context(block.inputs, len(self.groups), context)
        ups = self._pieces(group, UP, block.payload["up"], context)
        downs = self._pieces(group, DOWN, block.payload["down"], context)
        entries = []
        for i, seeds in sorted(read_seeds(group, context).items()):
            if not seeds:
                continue
            up, down = (merge_all(self.plan.source.shape, side.get(i, ())) for side in (ups, downs))
            track = settle(
                opened.predictor, seeds, up, down, self.plan.settings, context=whole, object_id=i
            )
            if len(track):
                entries.append(self._store(i, track, context).to_json())
        flush(opened.predictor)
        return {"tracks": entries}

    def _pieces(
        self, group: int, direction: int, windows: Sequence[int], context: BlockContext
    ) -> dict[int, list[Track]]:
        pieces: dict[int, list[Track]] = {}
        for window in windows:
            for name, data in unpack(context.get(piece_name(group, direction, window))).items():
                if name.startswith("piece/"):
                    own = pieces.setdefault(int(name.removeprefix("piece/")), [])
                    own.append(Track.from_bytes(data))
        return pieces

    def _store(self, object_id: int, track: Track, context: BlockContext) -> TrackEntry:
        output = context.put(track_name(object_id), track.to_bytes())
        return TrackEntry(
            object_id,
            output.digest,
            track.mean_confidence,
            len(track),
            track.voxels,
            places_of(track, self.plan.geometry.compose_shape[0]),
        )


def places_of(track: Track, thickness: int) -> tuple[tuple[int, int, int, int, int], ...]:
    """A track's bounding boxes per layer of `thickness` slices: rows (first slice, y0, y1, x0, x1)."""
    layers: dict[int, list[int]] = {}
    for z in track.slices:
        y0, x0, y1, x1 = track.bbox(z)
        box = layers.setdefault(z // thickness * thickness, [y0, y1, x0, x1])
        box[:] = [min(box[0], y0), max(box[1], y1), min(box[2], x0), max(box[3], x1)]
    return tuple((z, *box) for z, box in sorted(layers.items()))  # type: ignore[misc]


def piece_name(group: int, direction: int, window: int) -> str:
    """Name of what a propagate block stores: its objects' pieces, and the states that it hands on."""
    return f"pieces/g{group:06d}-{'up' if direction == UP else 'down'}-{window:05d}"
