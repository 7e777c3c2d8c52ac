"""NIfTI and NRRD label volumes on the source's affine, written slab by slab."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import StorageError, UnsupportedFormatError
from volseg.exporting.narrow import TooNarrowError, candidates, narrowed
from volseg.exporting.selection import Selection
from volseg.geometry import plane_region
from volseg.images.placement import affine_of_volume
from volseg.progress import Progress

_COMMENT = 6  # NIfTI extension code for plain text
_PER_MM = {"mm": 1.0, "micron": 1e3, "meter": 1e-3}
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def affine_of(selection: Selection) -> NDArray[np.float64]:
    """Voxel (x, y, z) of the selection → millimetres to the right, front and up.

    The directions and the place of the first voxel are those of the imported file where it told
    them, else the volume's translation; the steps are the volume's voxel size, which may have been
    corrected since.
    """
    image, level = selection.volume.levels[0], selection.labels.levels[selection.level]
    steps = np.array(level.scale) / np.array(image.scale)
    first = (np.array(level.translation) - np.array(image.translation)) / np.array(image.scale)
    first = first + np.array(selection.origin) * steps
    inner = np.diag([*steps[::-1], 1.0])
    inner[:3, 3] = first[::-1]
    return np.asarray(affine_of_volume(selection.volume) @ inner)


def _source_facts(selection: Selection) -> dict[str, Any]:
    """What the importer kept of the source's header."""
    data = selection.volume.store.get_or_none("volseg/source.json")
    try:
        facts = json.loads(data)["facts"] if data is not None else {}
    except (KeyError, TypeError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def write_nifti(
    selection: Selection, path: Path, provenance: dict[str, Any], progress: Progress
) -> None:
    """Write NIfTI (packed where the name ends in .gz), provenance as a comment extension.

    In millimetres, or in the unit of the NIfTI file that the volume was made from.
    """
    import nibabel
    from nibabel.fileholders import FileHolder
    from nibabel.nifti1 import Nifti1Extension
    from nibabel.openers import ImageOpener

    shape = selection.shape[::-1]
    kind = nibabel.Nifti1Header if max(shape) < 2**15 else nibabel.Nifti2Header
    unit = _source_facts(selection).get("nifti_unit")
    unit = unit if unit in _PER_MM else "mm"
    affine = np.diag([_PER_MM[unit]] * 3 + [1.0]) @ affine_of(selection)
    straight = _is_straight(affine)

    def head(dtype: np.dtype[np.generic]) -> Callable[[IO[bytes]], None]:
        header = kind()
        header.set_data_shape(shape)
        header.set_data_dtype(dtype)
        header.set_xyzt_units(unit)
        header.set_sform(affine, code=1)
        header.set_qform(affine, code=1 if straight else 0)  # it has no place for a shear
        note = Nifti1Extension(_COMMENT, json.dumps(provenance).encode())
        header.extensions.append(note)
        return lambda file: header.write_to(file)

    _write(selection, path, head, progress)
    image: Any = nibabel.Nifti1Image if kind is nibabel.Nifti1Header else nibabel.Nifti2Image
    middle = shape[2] // 2
    with ImageOpener(str(path)) as file:  # by its path, nibabel wants one of its endings
        found = image.from_file_map({"image": FileHolder(str(path), file.fobj)})
        if found.shape != shape or not np.allclose(found.affine, affine, rtol=1e-4, atol=1e-4):
            raise StorageError(f"{path}: reads back with another shape or affine; try again")
        _compare(selection, path, np.asarray(found.dataobj[..., middle]).T, middle)


def _is_straight(affine: NDArray[np.float64]) -> bool:
    """Whether the axes are at right angles."""
    unit = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return np.allclose(unit.T @ unit, np.eye(3), atol=1e-4)


def write_nrrd(
    selection: Selection, path: Path, provenance: dict[str, Any], progress: Progress
) -> None:
    """Write NRRD with gzip encoding, in LPS millimetres, provenance as a key/value pair."""
    import nrrd

    affine = _LPS @ affine_of(selection)

    def head(dtype: np.dtype[np.generic]) -> Callable[[IO[bytes]], None]:
        text = _nrrd_header(selection, dtype, affine, provenance)

        def write(file: IO[bytes]) -> None:
            file.write(text.encode("ascii"))

        return write

    _write(selection, path, head, progress, packed=True, head_plain=True)
    data, header = (
        nrrd.read(str(path)) if _small(selection) else (None, nrrd.read_header(str(path)))
    )
    if tuple(header["sizes"]) != selection.shape[::-1]:
        raise StorageError(f"{path}: reads back with another shape; try again")
    if data is not None:
        middle = selection.shape[0] // 2
        _compare(selection, path, data[..., middle].T, middle)


def _nrrd_header(
    selection: Selection,
    dtype: np.dtype[np.generic],
    affine: NDArray[np.float64],
    provenance: dict[str, Any],
) -> str:
    def vector(values: NDArray[np.float64]) -> str:
        return "(" + ",".join(f"{v:.17g}" for v in values) + ")"

    x, y, z = selection.shape[::-1]
    lines = [
        "NRRD0004",
        f"type: {dtype.name}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {x} {y} {z}",
        "space directions: " + " ".join(vector(affine[:3, axis]) for axis in range(3)),
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        'space units: "mm" "mm" "mm"',
        f"space origin: {vector(affine[:3, 3])}",
        f"volseg:={json.dumps(provenance, ensure_ascii=True)}",
        "",
        "",
    ]
    return "\n".join(lines)


def _write(
    selection: Selection,
    path: Path,
    head: Callable[[np.dtype[np.generic]], Callable[[IO[bytes]], None]],
    progress: Progress,
    *,
    packed: bool | None = None,
    head_plain: bool = False,
) -> None:
    """Write header and slabs; x is the fastest axis in both formats, as in (z, y, x) C order."""
    squeeze = path.name.lower().endswith(".gz") if packed is None else packed
    for dtype in candidates(selection):
        stored = dtype.newbyteorder("<")
        try:
            with path.open("wb") as raw:
                if head_plain:
                    head(dtype)(raw)
                body: Any = gzip.GzipFile("", "wb", 6, raw, 0) if squeeze else raw
                if not head_plain:
                    head(dtype)(body)
                blocks = list(selection.blocks(slabs=True))
                for done, region in enumerate(blocks, 1):
                    ids = narrowed(selection.read(region), dtype)
                    body.write(ids.astype(stored, copy=False).tobytes())
                    progress("export", done, len(blocks))
                if squeeze:
                    body.close()
            return
        except TooNarrowError:
            continue
    raise UnsupportedFormatError(f"{selection.labels.name}: ids beyond 2³²−1 don't fit this format")


def _compare(selection: Selection, path: Path, plane: NDArray[np.generic], z: int) -> None:
    if not np.array_equal(plane, selection.read(plane_region(z, selection.shape))[0]):
        raise StorageError(f"{path}: slice {z} reads back differently; try again")


def _small(selection: Selection) -> bool:
    """Whether the whole can be read back at once (pynrrd knows no other way)."""
    return int(np.prod(selection.shape, dtype=np.int64)) <= 2**25
