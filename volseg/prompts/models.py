"""The values of a prompts file: what a person clicked, boxed, painted or marked, frozen and
checked on their own.

Coordinates are voxel indices of level 0, whole numbers being voxel centres. Reading files lives in
`reading`, the checks against a volume in `inside`.
"""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from volseg.errors import NameRefusedError, PromptError

if TYPE_CHECKING:
    from typing import Self

MAX_ID = 2**32 - 1
SCRIBBLE_SPACING = 8.0  # voxels between the points that a scribble is turned into


def _whole(value: Any) -> Any:
    """Let integers of every kind (NumPy's, 3.0 of JSON) pass as int, and nothing else, booleans
    included.
    """
    if isinstance(value, bool | np.bool_):
        raise ValueError("a whole number is expected, not true or false")
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real) and float(value).is_integer():
        return int(float(value))
    return value


def _number(value: Any) -> Any:
    if isinstance(value, bool | np.bool_ | str):
        raise ValueError("a number is expected")
    return float(value) if isinstance(value, numbers.Real) else value


def _channel(value: Any) -> Any:
    """An index or a list of up to three; written out by hand, since a union's errors name no
    key.
    """
    if value is None:
        return None
    many = isinstance(value, Sequence) and not isinstance(value, str)
    parts = [_whole(v) for v in (value if many else [value])]
    if not 1 <= len(parts) <= 3 or not all(isinstance(p, int) and p >= 0 for p in parts):
        raise ValueError(
            f"a channel is an index from 0 up, or a list of one to three of them; found {value!r}"
        )
    return tuple(parts) if many else parts[0]


Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Binary = Annotated[Literal[0, 1], BeforeValidator(_whole)]
Point = tuple[Number, Number, Binary]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunLengthMask(_Frozen):
    """A 2D mask as uncompressed run lengths in row order, starting with background.

    Parameters
    ----------
    size : (int, int)
        Height and width of the slice in voxels.
    counts : tuple of int
        Lengths of the runs, alternately background and foreground; their sum is height × width.
    """

    size: tuple[Annotated[Whole, Field(ge=1)], Annotated[Whole, Field(ge=1)]]
    counts: tuple[Annotated[Whole, Field(ge=0)], ...]

    @model_validator(mode="after")
    def _sum(self) -> Self:
        total, expected = sum(self.counts), self.size[0] * self.size[1]
        if total != expected:
            raise ValueError(
                f"the run lengths in 'counts' sum to {total}, but a mask of 'size' "
                f"{self.size[0]} x {self.size[1]} has {expected} voxels"
            )
        if sum(self.counts[1::2]) == 0:
            raise ValueError("the mask has no foreground voxel")
        return self

    @classmethod
    def encode(cls, mask: NDArray[np.generic]) -> Self:
        """Encode a mask.

        Parameters
        ----------
        mask : ndarray (y, x)
            Non-zero means foreground.

        Raises
        ------
        PromptError
            The array is not 2D, or has no foreground voxel.
        """
        if mask.ndim != 2 or not mask.any():
            raise PromptError(
                f"a mask prompt needs a 2D array with at least one voxel set; "
                f"this one has shape {mask.shape}"
            )
        flat = np.asarray(mask, dtype=bool).ravel()
        changes = np.flatnonzero(np.diff(flat, prepend=False))
        counts = np.diff(np.concatenate(([0], changes, [flat.size])))
        height, width = mask.shape
        return cls(size=(height, width), counts=tuple(int(n) for n in counts))

    def decode(self) -> NDArray[np.bool_]:
        """The mask as a bool array (y, x)."""
        values = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(values, self.counts).reshape(self.size)


class Scribble(_Frozen):
    """A painted line: its path through voxels (y, x), its radius in voxels, and 1 for the object
    or 0 for not it.
    """

    path: Annotated[tuple[tuple[Number, Number], ...], Field(min_length=1)]
    radius: Annotated[Number, Field(gt=0)] = 1.0
    label: Binary = 1

    def points(self, spacing: float = SCRIBBLE_SPACING) -> list[tuple[float, float]]:
        """Points (y, x) along the path, both ends among them, no further apart than `spacing`
        voxels.
        """
        found = [self.path[0]]
        for (y0, x0), (y1, x1) in zip(self.path, self.path[1:], strict=False):
            parts = max(1, math.ceil(math.hypot(y1 - y0, x1 - x0) / spacing))
            found += [
                (y0 + (y1 - y0) * i / parts, x0 + (x1 - x0) * i / parts)
                for i in range(1, parts + 1)
            ]
        return found


class Prompt(_Frozen):
    """What was given for one object on one slice of one time point; `ends` says that it stops
    before this slice.
    """

    z: Annotated[Whole, Field(ge=0)]
    t: Annotated[Whole, Field(ge=0)] = 0
    points: tuple[Point, ...] = ()
    box: tuple[Number, Number, Number, Number] | None = None
    mask: RunLengthMask | None = None
    scribbles: tuple[Scribble, ...] = ()
    ends: bool = False

    @property
    def is_positive(self) -> bool:
        """Whether the prompt says where the object is, not only where it is not."""
        return (
            self.box is not None
            or self.mask is not None
            or any(label for _, _, label in self.points)
            or any(s.label for s in self.scribbles)
        )

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if self.box is not None and not (self.box[0] < self.box[2] and self.box[1] < self.box[3]):
            raise ValueError(
                f"'box' {list(self.box)} is empty: it is [y0, x0, y1, x1] with y0 < y1 and x0 < x1"
            )
        if self.ends and self.is_positive:
            raise ValueError(
                "'ends' says that the object has stopped before this slice, but the same prompt "
                "shows the object there; keep one of the two"
            )
        if not (self.ends or self.points or self.scribbles or self.is_positive):
            raise ValueError("is empty: give 'points', 'box', 'mask', 'scribbles' or 'ends'")
        return self

    def point_arrays(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Points and scribbles together.

        Returns
        -------
        points : ndarray (n, 2) float64
            y, x in voxels of level 0.
        labels : ndarray (n,) int64
            1 on the object, 0 outside it.
        """
        rows = [(y, x, label) for y, x, label in self.points]
        rows += [(y, x, s.label) for s in self.scribbles for y, x in s.points()]
        array = np.array(rows, dtype=np.float64).reshape(-1, 3)
        return array[:, :2].copy(), array[:, 2].astype(np.int64)


class PromptedObject(_Frozen):
    """One object: its id in the labels, the layer it belongs to (may be left out where there is
    one), its prompts.
    """

    id: Annotated[Whole, Field(ge=1, le=MAX_ID)]
    layer: str | None = None
    prompts: Annotated[tuple[Prompt, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        seen: dict[tuple[int, int, str], int] = {}
        for i, prompt in enumerate(self.prompts):
            for key in ("box", "mask", "ends"):
                if getattr(prompt, key) in (None, False):
                    continue
                first = seen.setdefault((prompt.t, prompt.z, key), i)
                if first != i:
                    raise ValueError(
                        f"prompts[{first}] and prompts[{i}] both give '{key}' for z {prompt.z}, "
                        f"t {prompt.t}; one is enough"
                    )
        for time in sorted({p.t for p in self.prompts}):
            if not any(p.is_positive for p in self.prompts if p.t == time):
                raise ValueError(
                    f"nothing shows where object {self.id} is at t {time}: give a point with "
                    "label 1, a box, a mask or a scribble with label 1"
                )
        return self

    def diameter(self, time: int = 0) -> float | None:
        """How wide the boxes and masks of one time point say that the object is, in voxels of level 0.

        The side of a square as large as the box, or as the box around a disc as large as the mask; the largest of
        all slices. None where there are points and scribbles alone.
        """
        areas: list[float] = []
        for prompt in self.by_slice(time).values():
            if prompt.mask is not None:
                areas.append(4 / math.pi * sum(prompt.mask.counts[1::2]))
            elif prompt.box is not None:
                y0, x0, y1, x1 = prompt.box
                areas.append((y1 - y0) * (x1 - x0))
        return math.sqrt(max(areas)) if areas else None

    def by_slice(self, time: int = 0) -> dict[int, Prompt]:
        """The prompts of one time point as ``{z: prompt}``; several for one slice are merged into
        one.
        """
        found: dict[int, Prompt] = {}
        for prompt in self.prompts:
            if prompt.t != time:
                continue
            old = found.get(prompt.z)
            found[prompt.z] = prompt if old is None else _merged(old, prompt)
        return dict(sorted(found.items()))


class Layer(_Frozen):
    """A label image to be made: its name, the channel or channels that the model looks at, and
    what its objects are.
    """

    name: Annotated[str, Field(min_length=1)]
    channel: Annotated[Any, BeforeValidator(_channel)] = None
    category: str | None = None


class PromptSet(_Frozen):
    """A whole prompts file: layers and prompted objects, checked against each other."""

    format: Literal["volseg-prompts"] = "volseg-prompts"
    version: Literal[1] = 1
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    objects: Annotated[tuple[PromptedObject, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names: dict[str, int] = {}
        for i, layer in enumerate(self.layers):
            _check_layer_name(layer.name, f"layers[{i}].name")
            if layer.name in names:
                raise ValueError(
                    f"layers[{i}].name: {layer.name!r} is the name of "
                    f"layers[{names[layer.name]}] too"
                )
            names[layer.name] = i
        ids: dict[int, int] = {}
        for i, one in enumerate(self.objects):
            if one.id in ids:
                raise ValueError(
                    f"objects[{i}].id: {one.id} is the id of objects[{ids[one.id]}] too; "
                    "every object needs an id of its own"
                )
            ids[one.id] = i
            if one.layer is None and len(names) > 1:
                raise ValueError(f"objects[{i}].layer is missing; layers are {_listed(names)}")
            if one.layer is not None and one.layer not in names:
                raise ValueError(
                    f"objects[{i}].layer: no layer is called {one.layer!r}; "
                    f"layers are {_listed(names)}"
                )
        return self

    def layer_of(self, one: PromptedObject) -> Layer:
        """The layer of an object."""
        if one.layer is None:
            return self.layers[0]
        return next(layer for layer in self.layers if layer.name == one.layer)

    def check_inside(
        self, volume_shape_zyx: Sequence[int], n_times: int = 1, n_channels: int = 1
    ) -> None:
        """Check that every prompt lies inside a volume.

        Parameters
        ----------
        volume_shape_zyx : (int, int, int)
            Shape of level 0 in voxels.
        n_times, n_channels : int
            Lengths of the axes t and c.

        Raises
        ------
        PromptError
            Something lies outside; the message names the key, the place and the bounds.
        """
        from volseg.prompts.inside import check_inside

        check_inside(self, volume_shape_zyx, n_times, n_channels)

    def to_json(self) -> str:
        """The prompts file as text; `parse_prompts(json.loads(text))` gives an equal value."""
        head = {"format": self.format, "version": self.version}
        body = self.model_dump(mode="json", exclude_defaults=True)
        return json.dumps(head | body, separators=(",", ":"))

    def dump(self, path: str | Path) -> None:
        """Write the prompts file to a local path, whole or not at all.

        Raises
        ------
        InputError, StorageError
            If it can't be written there.
        """
        from volseg.storage.files import write_text

        write_text(path, self.to_json() + "\n")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _merged(old: Prompt, new: Prompt) -> Prompt:
    return Prompt(
        z=old.z,
        t=old.t,
        points=old.points + new.points,
        box=old.box or new.box,
        mask=old.mask or new.mask,
        scribbles=old.scribbles + new.scribbles,
        ends=old.ends or new.ends,
    )


def _check_layer_name(name: str, place: str) -> None:
    from volseg.storage.urls import check_name

    try:
        check_name(name, "label image")
    except NameRefusedError as error:
        raise ValueError(f"{place}: {error}") from error
