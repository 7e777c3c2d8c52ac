"""`OpenedImage`: an image file of any format as a lazy array with known axes, read slab by slab."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import InputError, UnsupportedFormatError
from volseg.geometry import Region, region_shape
from volseg.images.voxel_size import ANY, Bounds, Size, checked_size, is_length, oddness
from volseg.importing.guard import reading, shown

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.progress import Progress

LETTERS = "tczyxs"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceOptions:
    """Which image of a source that holds several, and how it is read.

    Attributes
    ----------
    series
        A series by the name, number or UID under which the reader lists it; None where there is one only.
    dataset
        HDF5: path of the data set; None where there is one only.
    resample_tilt
        DICOM: resample slices that a tilted gantry shifts against each other onto a straight grid.
    accept_gaps
        Folders and OME-TIFF sets: missing slices are black instead of an error.
    labels
        The numbers are wanted as object ids: a palette's indices instead of its colours.
    """

    series: str | None = None
    resample_tilt: bool = False
    dataset: str | None = None
    accept_gaps: bool = False
    labels: bool = False


AS_IT_IS = SourceOptions()


@dataclass(frozen=True)
class Companions:
    """What an OME-Zarr source has beside voxels, for the volume that is made from it.

    Attributes
    ----------
    omero
        Its display settings, as they stand in the metadata.
    why_no_labels
        Why it is not taken where labels are wanted; None for a label image.
    copy_labels
        Writes its label images beside a volume.
    """

    omero: Any = None
    why_no_labels: str | None = None
    copy_labels: Callable[[Volume, Progress], None] | None = None


ALONE = Companions()


@dataclass
class OpenedImage:
    """An image in a file.

    Attributes
    ----------
    path
        The file or folder, for messages.
    format_name
        "TIFF", "DICOM", …
    array
        Slices like an array (`array[index, ...]` with ints and slices) and has `shape` and `dtype`.
    axes
        One letter per axis of `array`, out of t, c, z, y, x and s (samples of a colour).
    scale_um
        Voxel size (z, y, x) in micrometres as far as the file tells it, also where that can't be; None per unknown
        axis. `voxel_size` decides what is believed.
    bounds
        Which voxel sizes are plausible: what kind of instrument made the image, where the file tells.
    origin_um
        Where the centre of the first voxel (z, y, x) lies, in micrometres.
    time_step_s
        Seconds between two times, where the file tells.
    channel_names
        As far as the file tells them.
    is_rgb
        Three uint8 samples that are a colour.
    companions
        What else an OME-Zarr source has.
    facts
        What else is worth keeping with the volume (orientation, rescaling); never patient data.
    private
        Data about a patient; kept with the volume only where that was asked for.
    """

    path: Path
    format_name: str
    array: Any
    axes: str
    scale_um: tuple[float | None, float | None, float | None] = (None, None, None)
    bounds: Bounds = ANY
    origin_um: tuple[float, float, float] = (0.0, 0.0, 0.0)
    time_step_s: float | None = None
    channel_names: tuple[str, ...] = ()
    is_rgb: bool = False
    companions: Companions = ALONE
    facts: dict[str, Any] = field(default_factory=dict)
    private: dict[str, Any] = field(default_factory=dict)
    close_with: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        check_axes(self.axes, len(self.array.shape), self.path)
        if any(n == 0 for n in self.array.shape):
            raise UnsupportedFormatError(
                f"{shown(self.path)}: no image in it (shape {tuple(self.array.shape)}, "
                f"axes {self.axes})"
            )
        dtype = np.dtype(self.array.dtype)
        if dtype.kind not in "biuf" or dtype.itemsize > 8:
            raise UnsupportedFormatError(
                f"{shown(self.path)}: values of type {dtype}; expected whole or real numbers of at "
                "most 64 bits"
            )

    def __enter__(self) -> OpenedImage:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self.close_with is not None:
            self.close_with()
            self.close_with = None

    def size(self, letter: str) -> int:
        """Length of an axis, 1 where the image doesn't have it."""
        at = self.axes.find(letter)
        return 1 if at < 0 else int(self.array.shape[at])

    @property
    def n_times(self) -> int:
        """Length of t."""
        return self.size("t")

    @property
    def n_channels(self) -> int:
        """Length of c, or of the samples."""
        return self.size("c") * self.size("s")

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Shape (z, y, x) in voxels."""
        return self.size("z"), self.size("y"), self.size("x")

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the voxels (bool is read as uint8)."""
        found = np.dtype(self.array.dtype).newbyteorder("=")
        return np.dtype(np.uint8) if found.kind == "b" else found

    def voxel_size(self, given: Sequence[float] | None = None) -> Size:
        """Decide the voxel size.

        Parameters
        ----------
        given : (z, y, x), optional
            In micrometres, as a person says (`--voxel-size`): believed, with a warning where odd.

        Returns
        -------
        (z, y, x) in micrometres
            1 along axes of which the file tells nothing, with a warning where they matter.

        Raises
        ------
        UnsupportedFormatError
            If the file tells a size that can't be (see `volseg.images.voxel_size`).
        InputError
            If `given` is not three positive numbers.
        """
        shape = self.shape_zyx
        if given is not None:
            size = checked_size(given)
            if odd := oddness(size, shape, self.bounds):
                _LOG.warning("%s: %s; taken as given", shown(self.path), odd)
            return size
        told = [
            n if n is None or is_length(n) or length > 1 else None  # 0 where there is no axis
            for n, length in zip(self.scale_um, shape, strict=True)
        ]
        if odd := oddness(told, shape, self.bounds):
            raise UnsupportedFormatError(
                f"{shown(self.path)}: by its metadata {odd}; give the true one with "
                "--voxel-size Z Y X (micrometres)"
            )
        unknown = [a for a, n in zip("zyx", told, strict=True) if n is None and self.size(a) > 1]
        if unknown:
            _LOG.warning(
                "%s does not tell its voxel size along %s; 1 µm is taken (give --voxel-size Z Y X)",
                shown(self.path),
                ", ".join(unknown),
            )
        z, y, x = (1.0 if n is None else n for n in told)
        return z, y, x

    def read(
        self, region: Region, *, time: int = 0, channel: int | None = 0
    ) -> NDArray[np.generic]:
        """Read a region.

        Parameters
        ----------
        region : ((z0, z1), (y0, y1), (x0, x1))
            Half-open, in voxels.
        time : int
        channel : int or None
            None reads all channels at once.

        Returns
        -------
        ndarray, shape (z, y, x), or (c, z, y, x) for all channels
        """
        wanted: dict[str, Any] = {"t": time, "c": channel or 0, "s": slice(None)}
        wanted |= {letter: slice(*part) for letter, part in zip("zyx", region, strict=True)}
        if channel is None:
            wanted["c"] = slice(None)
        elif "s" in self.axes:
            wanted["s"] = channel
        with reading(self.path, self.format_name):
            block = np.asarray(self.array[tuple(wanted[letter] for letter in self.axes)])
            left = [letter for letter in self.axes if isinstance(wanted[letter], slice)]
            whole = self._ordered(block, left)
        expected = region_shape(region)
        if whole.shape[1:] != expected:
            raise UnsupportedFormatError(
                f"{shown(self.path)}: gave {whole.shape[1:]} voxels where {expected} were expected"
            )
        return whole if channel is None else whole[0]

    def as_labels(self) -> OpenedImage:
        """Return itself if it can be labels: whole numbers, one channel, and no OME-Zarr that says it is an image.

        Raises
        ------
        InputError
        """
        if self.companions.why_no_labels is not None:
            raise InputError(self.companions.why_no_labels)
        if self.n_channels != 1:
            raise InputError(
                f"{shown(self.path)}: labels have one channel, this has {self.n_channels}"
            )
        if self.dtype.kind == "f":
            raise InputError(
                f"{shown(self.path)}: values of type {self.dtype} are no object ids; "
                "save the labels as whole numbers"
            )
        return self

    def _ordered(self, block: NDArray[np.generic], letters: list[str]) -> NDArray[np.generic]:
        """Bring a block with these axes to (c, z, y, x) in the machine's byte order."""
        front = [letter for letter in letters if letter in "cs"]
        order = front + [letter for letter in "zyx" if letter in letters]
        block = block.transpose([letters.index(letter) for letter in order])
        if "z" not in letters:
            block = np.expand_dims(block, len(front))
        if not front:
            block = block[np.newaxis]
        return np.ascontiguousarray(block, dtype=self.dtype)


def check_axes(axes: str, ndim: int, path: object) -> str:
    """Check the letters of axes against the number of axes.

    Raises
    ------
    InputError
        For unknown or repeated letters, a missing y or x, or another number of axes.
    """
    if len(axes) != ndim:
        raise InputError(
            f"{shown(path)}: axes {axes!r} name {len(axes)} axes, the image has {ndim}; "
            "say what each is with --axes, such as zyx or tczyx"
        )
    if len(set(axes)) != len(axes) or not set(axes) <= set(LETTERS) or not {"y", "x"} <= set(axes):
        raise InputError(
            f"{shown(path)}: axes {axes!r}: expected different letters out of t, c, z, y, x "
            "(and s for the samples of a colour), with y and x among them"
        )
    if {"c", "s"} <= set(axes):
        raise InputError(
            f"{shown(path)}: axes {axes!r}: both channels (c) and colour samples (s); "
            "volseg reads one of them"
        )
    return axes
