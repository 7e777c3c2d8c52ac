"""Pixel values of DICOM frames: decoded, rescaled, upright in brightness, colours as RGB."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import UnsupportedFormatError
from volseg.importing.guard import check_size, shown
from volseg.importing.rescaled import rescale, rescaled_type

_BY_IMAGECODECS = {
    "1.2.840.10008.1.2.4.51": "jpeg_decode",  # JPEG extended, 12 bit
    "1.2.840.10008.1.2.4.57": "jpeg_decode",  # JPEG lossless
    "1.2.840.10008.1.2.4.70": "jpeg_decode",
    "1.2.840.10008.1.2.4.80": "jpegls_decode",
    "1.2.840.10008.1.2.4.81": "jpegls_decode",
    "1.2.840.10008.1.2.4.90": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.91": "jpeg2k_decode",
}


def check_pixels(path: Path, dataset: Any) -> None:
    """Refuse a header without pixels, or with more than the file can hold.

    Raises
    ------
    UnsupportedFormatError
    """
    if "Rows" not in dataset or "Columns" not in dataset:
        raise UnsupportedFormatError(f"{shown(path)}: a DICOM file without an image")
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames < 1 or int(dataset.Rows) < 1 or int(dataset.Columns) < 1:
        raise UnsupportedFormatError(f"{shown(path)}: a DICOM file without an image")
    samples = int(dataset.get("SamplesPerPixel", 1))
    bits = int(dataset.BitsAllocated)
    if bits not in (8, 16, 32) or samples not in (1, 3):
        raise UnsupportedFormatError(
            f"{shown(path)}: {samples} samples of {bits} bits; expected 1 or 3 of 8, 16 or 32"
        )
    nbytes = frames * int(dataset.Rows) * int(dataset.Columns) * samples * bits // 8
    packed = dataset.file_meta.TransferSyntaxUID.is_compressed
    check_size(path, nbytes, path.stat().st_size, compressed=packed)


class Frames:
    """The frames of one or several files as a lazy array (z, y, x) or (z, y, x, 3)."""

    def __init__(self, files: list[tuple[Path, Any]]) -> None:
        self._files = files
        self._places = [
            (file, frame)
            for file, (_, dataset) in enumerate(files)
            for frame in range(int(dataset.get("NumberOfFrames", 1) or 1))
        ]
        first = files[0][1]
        self._colour = (
            int(first.get("SamplesPerPixel", 1)) == 3
            or first.get("PhotometricInterpretation") == "PALETTE COLOR"
        )
        size = (len(self._places), int(first.Rows), int(first.Columns))
        self.shape: tuple[int, ...] = (*size, 3) if self._colour else size
        self.dtype = np.dtype(np.uint8) if self._colour else _type_of(files)

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        part, rest = index[0], index[1:]
        if not isinstance(part, slice):
            return self._frame(int(part))[rest]
        return np.stack([self._frame(n)[rest] for n in range(*part.indices(self.shape[0]))])

    def _frame(self, number: int) -> NDArray[Any]:
        file, frame = self._places[number]
        path, dataset = self._files[file]
        stored = decode(path, dataset, frame)
        if stored.shape != self.shape[1:]:
            raise UnsupportedFormatError(
                f"{shown(path)}: frame {frame} decoded to {stored.shape}, expected {self.shape[1:]}"
            )
        if self._colour:
            return (stored >> 8 if stored.dtype == np.uint16 else stored).astype(np.uint8)
        slope, intercept = _line(dataset)
        values = rescale(stored, slope, intercept, self.dtype)
        if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
            return _inverted(values, dataset, slope, intercept)
        return values


def decode(path: Path, dataset: Any, frame: int) -> NDArray[Any]:
    """Stored values of one frame; YBR and palette colours as RGB.

    Returns
    -------
    ndarray, shape (y, x) or (y, x, 3)

    Raises
    ------
    UnsupportedFormatError
        If no decoder knows the transfer syntax.
    """
    from pydicom.pixels import apply_color_lut, get_decoder, pixel_array

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        known = not syntax.is_compressed or get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    twelve_bit = syntax == "1.2.840.10008.1.2.4.51" and int(dataset.BitsStored) > 8
    if not known or twelve_bit:
        return _decode_elsewhere(path, dataset, frame, str(syntax))
    found: NDArray[Any] = pixel_array(path, index=frame)
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        found = apply_color_lut(found, dataset)[..., :3]
    return found


def _decode_elsewhere(path: Path, dataset: Any, frame: int, syntax: str) -> NDArray[Any]:
    import imagecodecs
    import pydicom
    from pydicom.encaps import get_frame

    if syntax not in _BY_IMAGECODECS:
        raise UnsupportedFormatError(
            f"{shown(path)}: transfer syntax {syntax} can't be decoded; "
            "convert the file to uncompressed or JPEG 2000 DICOM first"
        )
    whole = pydicom.dcmread(path)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    packed = get_frame(whole.PixelData, frame, number_of_frames=frames)
    found: NDArray[Any] = getattr(imagecodecs, _BY_IMAGECODECS[syntax])(packed)
    if int(dataset.get("PixelRepresentation", 0)) and found.dtype.kind == "u":
        shift = found.dtype.itemsize * 8 - int(dataset.BitsStored)
        signed = found.astype(found.dtype.str.replace("u", "i"))
        found = (signed << shift) >> shift  # the sign bit is the highest stored one
    return found


def _line(dataset: Any) -> tuple[float, float]:
    """Rescale slope and intercept (also of multi-frame groups)."""
    for holder in (dataset, *(dataset.get("SharedFunctionalGroupsSequence") or [])):
        for item in (holder, *(holder.get("PixelValueTransformationSequence") or [])):
            if "RescaleSlope" in item:
                slope = float(item.RescaleSlope)
                return slope or 1.0, float(item.get("RescaleIntercept", 0) or 0)
    return 1.0, 0.0


def _type_of(files: list[tuple[Path, Any]]) -> np.dtype[Any]:
    """The one type that holds the rescaled values of all files."""
    needed = []
    for _, dataset in files:
        kind = "i" if int(dataset.get("PixelRepresentation", 0)) else "u"
        stored = np.dtype(f"{kind}{int(dataset.BitsAllocated) // 8}")
        slope, intercept = _line(dataset)
        bits = int(dataset.get("BitsStored", stored.itemsize * 8))
        needed.append(_narrow(stored, bits, slope, intercept))
    common = np.result_type(*needed)
    return np.dtype(np.float32) if common.kind == "f" or common.itemsize > 4 else common


def _narrow(stored: np.dtype[Any], bits: int, slope: float, intercept: float) -> np.dtype[Any]:
    """As `rescaled_type`, but by the bits that are really used (12 of 16 is usual)."""
    if (slope, intercept) == (1.0, 0.0) or not (slope.is_integer() and intercept.is_integer()):
        return rescaled_type(stored, slope, intercept)
    low, high = _range(stored.kind, bits)
    ends = sorted(end * int(slope) + int(intercept) for end in (low, high))
    for candidate in (np.uint8, np.uint16, np.int16, np.int32, np.uint32):
        room = np.iinfo(candidate)
        if room.min <= ends[0] and ends[1] <= room.max:
            return np.dtype(candidate)
    return np.dtype(np.float32)


def _range(kind: str, bits: int) -> tuple[int, int]:
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if kind == "i" else (0, 2**bits - 1)


def _inverted(values: NDArray[Any], dataset: Any, slope: float, intercept: float) -> NDArray[Any]:
    """MONOCHROME1 shows low values bright: mirror the values within the range they can have."""
    kind = "i" if int(dataset.get("PixelRepresentation", 0)) else "u"
    low, high = _range(kind, int(dataset.get("BitsStored", dataset.BitsAllocated)))
    total = (low + high) * slope + 2 * intercept
    if values.dtype.kind == "f":
        return np.asarray(total - values, values.dtype)
    return (int(total) - values.astype(np.int64)).astype(values.dtype)
