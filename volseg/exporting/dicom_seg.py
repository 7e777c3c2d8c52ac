"""DICOM SEG through highdicom: a binary segment per object, on the grid of the imported series."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import volseg
from volseg.errors import InputError, StorageError, UnsupportedFormatError
from volseg.exporting.medical import affine_of
from volseg.exporting.selection import Selection
from volseg.progress import Progress

MOST_VOXELS = 2**30
"""highdicom takes the whole region at once, two bytes a voxel."""
MOST_SEGMENTS = 2**16 - 1
_LABEL_LETTERS = 64
_KEPT = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "AccessionNumber",
)


def write_segmentation(
    selection: Selection, path: Path, provenance: dict[str, Any], progress: Progress
) -> None:
    """Write one segment per object, labelled by its class; its id stands in the tracking identifier.

    Patient and study are those of the source where `volseg import --patient-data` kept them, else empty. Images are not
    referenced: viewers place the segments by position.

    Raises
    ------
    UnsupportedFormatError
        If the region has more voxels or objects than fit, or highdicom is not installed.
    InputError
        If there is no object: a segmentation has at least one.
    """
    try:
        import highdicom
    except ImportError:
        raise UnsupportedFormatError(
            "DICOM SEG is written by highdicom, which is not installed: pip install 'volseg[medical]'"
        ) from None
    numbers, ids = _numbered(selection, progress)
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_of(selection)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    x, y = affine[:3, 0] / steps[0], affine[:3, 1] / steps[1]
    measures: dict[str, Any] = {
        "pixel_spacing": [_short(steps[1]), _short(steps[0])],
        "slice_thickness": _short(steps[2]),
    }
    corners = [affine[:3, 3] + z * affine[:3, 2] for z in range(selection.shape[0])]
    made = highdicom.seg.Segmentation(
        source_images=[_source(selection, affine, measures)],
        pixel_array=numbers,
        segmentation_type="BINARY",
        segment_descriptions=_segments(selection, ids),
        series_instance_uid=highdicom.UID(),
        series_number=1,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="volseg",
        manufacturer_model_name="volseg",
        software_versions=volseg.__version__,
        device_serial_number="0",
        content_label="SEGMENTATION",
        content_description=selection.labels.name[:_LABEL_LETTERS],
        pixel_measures=highdicom.PixelMeasuresSequence(
            **measures, spacing_between_slices=_short(steps[2])
        ),
        plane_orientation=highdicom.PlaneOrientationSequence(
            "PATIENT", [_short(n) for n in (*x, *y)]
        ),
        plane_positions=[
            highdicom.PlanePositionSequence("PATIENT", [_short(n) for n in corner])
            for corner in corners
        ],
    )
    for name in ("ReferencedSeriesSequence", "SourceImageSequence"):  # there are no such images
        if name in made:
            delattr(made, name)
    made.SpecificCharacterSet = "ISO_IR 192"
    made.save_as(path)
    _check(path, numbers)


def _numbered(selection: Selection, progress: Progress) -> tuple[NDArray[np.uint16], list[int]]:
    """The region (z, y, x) with objects numbered from 1, and the id of each number."""
    shape = selection.shape
    if int(np.prod(shape, dtype=np.int64)) > MOST_VOXELS:
        raise UnsupportedFormatError(
            f"{selection.labels.name}: {' × '.join(map(str, shape))} voxels are too many for one DICOM SEG; choose a "
            "part (--z, --y, --x) or a coarser --level"
        )
    blocks = list(selection.blocks(slabs=True))
    found: set[int] = set()
    for region in blocks:
        found.update(np.unique(selection.read(region)).tolist())
    ids = sorted(found - {0})
    if not ids:
        raise InputError(
            f"{selection.labels.name}: no object to export, and a DICOM SEG has at least one"
        )
    if len(ids) > MOST_SEGMENTS:
        raise UnsupportedFormatError(
            f"{selection.labels.name}: {len(ids):,} objects, a DICOM SEG has up to {MOST_SEGMENTS:,}; choose --objects"
        )
    numbers = np.zeros(shape, np.uint16)
    known = np.array([0, *ids], np.uint64)
    for done, region in enumerate(blocks, 1):
        (z0, z1), _, _ = region
        numbers[z0:z1] = np.searchsorted(known, selection.read(region).astype(np.uint64))
        progress("export", done, len(blocks))
    return numbers, ids


def _segments(selection: Selection, ids: list[int]) -> list[Any]:
    from highdicom import UID
    from highdicom.seg import SegmentDescription
    from pydicom.sr.codedict import codes

    described = []
    for number, one in enumerate(ids, 1):
        row = selection.rows.get(one)
        label = (row.class_ if row else None) or f"{selection.labels.name[:40]} {one}"
        clean = "".join(c if c.isprintable() and c != "\\" else " " for c in label)
        described.append(
            SegmentDescription(
                number,
                clean[:_LABEL_LETTERS],
                codes.SCT.AnatomicalStructure,
                codes.SCT.AnatomicalStructure,
                "SEMIAUTOMATIC" if row is None or row.annotator is None else "MANUAL",
                algorithm_identification=_algorithm()
                if row is None or row.annotator is None
                else None,
                tracking_uid=UID(),
                tracking_id=f"volseg {one}",
            )
        )
    return described


def _algorithm() -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from pydicom.sr.codedict import codes

    return AlgorithmIdentificationSequence(
        name="volseg", family=codes.DCM.ArtificialIntelligence, version=volseg.__version__
    )


def _source(selection: Selection, affine: NDArray[np.float64], measures: dict[str, Any]) -> Any:
    """What highdicom copies patient, study and frame of reference from."""
    from pydicom.dataset import Dataset
    from pydicom.uid import CTImageStorage, generate_uid

    one = Dataset()
    one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, generate_uid()
    one.SeriesInstanceUID, one.StudyInstanceUID = generate_uid(), generate_uid()
    one.FrameOfReferenceUID = generate_uid(entropy_srcs=[selection.volume.identity(0)])
    one.Modality = "OT"
    one.Rows, one.Columns = selection.shape[1:]
    one.ImagePositionPatient = [_short(n) for n in affine[:3, 3]]
    one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    one.PixelSpacing, one.SliceThickness = measures["pixel_spacing"], measures["slice_thickness"]
    for name in (*_KEPT, "StudyID", "StudyTime", "ReferringPhysicianName"):
        if name != "StudyInstanceUID":
            setattr(one, name, "")
    data = selection.volume.store.get_or_none("volseg/source.json")
    known = json.loads(data).get("patient", {}) if data is not None else {}
    for name in _KEPT:
        if known.get(name):
            setattr(one, name, str(known[name]))
    return one


def _short(number: float) -> float:
    """A number that DICOM's decimal strings of 16 letters hold."""
    return float(f"{number:.9g}") + 0.0


def _check(path: Path, numbers: NDArray[np.uint16]) -> None:
    """Reopen the file and count the voxels of all segments."""
    import pydicom

    found = pydicom.dcmread(path)
    voxels = int(np.unpackbits(np.frombuffer(found.PixelData, np.uint8)).sum())
    if voxels != np.count_nonzero(numbers):
        raise StorageError(f"{path}: reads back with {voxels} voxels; try again")
