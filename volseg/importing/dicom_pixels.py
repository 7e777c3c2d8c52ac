"""Stored pixel values of DICOM frames: how a file holds them, and one frame decoded; colours come out as RGB."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volseg.errors import UnsupportedFormatError
from volseg.importing.dicom_tags import numbers, text, whole
from volseg.importing.guard import check_size, shown

_BY_IMAGECODECS = {
    "1.2.840.10008.1.2.4.51": "jpeg_decode",  # JPEG extended, 12 bit
    "1.2.840.10008.1.2.4.57": "jpeg_decode",  # JPEG lossless
    "1.2.840.10008.1.2.4.70": "jpeg_decode",
    "1.2.840.10008.1.2.4.80": "jpegls_decode",
    "1.2.840.10008.1.2.4.81": "jpegls_decode",
    "1.2.840.10008.1.2.4.90": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.91": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.201": "jpeg2k_decode",  # high throughput
    "1.2.840.10008.1.2.4.202": "jpeg2k_decode",
    "1.2.840.10008.1.2.4.203": "jpeg2k_decode",
}
_EXTENDED_JPEG = "1.2.840.10008.1.2.4.51"
_GREY = ("MONOCHROME1", "MONOCHROME2")
_PALETTE = "PALETTE COLOR"
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


@dataclass(frozen=True)
class PixelFormat:
    """How a file holds its pixels.

    Attributes
    ----------
    syntax
        UID of the transfer syntax.
    rows, columns, frames, samples
        Shape.
    allocated, stored, high_bit
        Bits per sample in the file, those that count, and the position of the highest of them.
    signed, real
        Whole numbers with a sign; floating point.
    photometric
        PhotometricInterpretation.
    planar
        Whether colours lie plane by plane.
    """

    syntax: str
    rows: int
    columns: int
    frames: int
    samples: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    real: bool
    photometric: str
    planar: bool

    @property
    def is_colour(self) -> bool:
        """Whether frames come out as red, green and blue."""
        return self.photometric not in _GREY

    @property
    def is_compressed(self) -> bool:
        """Whether frames are packed one by one."""
        from pydicom.uid import UID

        uid = UID(self.syntax)
        return bool(uid.is_transfer_syntax and uid.is_encapsulated)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of the stored values."""
        kind = "f" if self.real else "i" if self.signed else "u"
        return np.dtype(f"{kind}{self.allocated // 8}")

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest whole number that the stored bits hold."""
        bits = self.stored
        return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if self.signed else (0, 2**bits - 1)


def pixel_format(path: Path, dataset: Any, syntax: str) -> PixelFormat:
    """Return how a file holds its pixels; empty elements count as missing ones.

    Raises
    ------
    UnsupportedFormatError
        If there is no image, of a kind that can't be read, or announced larger than the file can hold.
    """
    from pydicom.uid import UID

    rows, columns = whole(dataset, "Rows", 0), whole(dataset, "Columns", 0)
    frames = whole(dataset, "NumberOfFrames", 1)
    allocated = whole(dataset, "BitsAllocated", 0)
    if "Rows" not in dataset or rows < 1 or columns < 1 or frames < 1 or not allocated:
        kind = text(dataset, "Modality")
        raise UnsupportedFormatError(
            f"{shown(path)}: a DICOM file without an image{f' ({kind})' if kind else ''}"
        )
    said = text(dataset, "PhotometricInterpretation").upper()
    samples = whole(dataset, "SamplesPerPixel", 3 if said in _COLOURS else 1)
    photometric = said or ("RGB" if samples == 3 else "MONOCHROME2")
    known = (*_GREY, _PALETTE) if samples == 1 else _COLOURS
    if photometric not in known or samples not in (1, 3):
        raise UnsupportedFormatError(
            f"{shown(path)}: {samples} sample(s) of {photometric}; expected one of {', '.join(known)}"
        )
    real = allocated in (32, 64) and "PixelRepresentation" not in dataset
    if allocated not in (8, 16, 32) and not real:
        raise UnsupportedFormatError(
            f"{shown(path)}: samples of {allocated} bits; expected 8, 16 or 32"
        )
    stored = whole(dataset, "BitsStored", allocated)
    high_bit = whole(dataset, "HighBit", stored - 1)
    if not 1 <= stored <= allocated or not stored - 1 <= high_bit < allocated:
        raise UnsupportedFormatError(
            f"{shown(path)}: {stored} bits up to bit {high_bit} of {allocated}, which can't be"
        )
    nbytes = frames * rows * columns * samples * allocated // 8
    uid = UID(syntax)
    packed = not uid.is_transfer_syntax or uid.is_compressed or uid.is_deflated
    if photometric == "YBR_FULL_422" and not packed:
        nbytes = nbytes * 2 // 3
    check_size(path, nbytes, path.stat().st_size, compressed=packed)
    return PixelFormat(
        syntax,
        rows,
        columns,
        frames,
        samples,
        allocated,
        stored,
        high_bit,
        whole(dataset, "PixelRepresentation", 0) == 1,
        real,
        photometric,
        whole(dataset, "PlanarConfiguration", 0) == 1,
    )


def decode(path: Path, dataset: Any, pixels: PixelFormat, frame: int) -> NDArray[Any]:
    """Decode one frame.

    Returns
    -------
    ndarray
        (y, x) stored values with the bits that count only and their sign, or (y, x, 3) uint8 RGB.

    Raises
    ------
    UnsupportedFormatError
        If no decoder knows the transfer syntax; the message names it.
    """
    found = _decoded(path, pixels, frame)
    if pixels.photometric == _PALETTE:
        from pydicom.pixels import apply_color_lut

        found = apply_color_lut(found, dataset)[..., :3]
        entries = numbers(dataset, "RedPaletteColorLookupTableDescriptor", 3)
        wide = found.dtype.itemsize > 1 and (entries is None or entries[2] > 8)
        return (found >> 8 if wide else found).astype(np.uint8)
    expected = (pixels.rows, pixels.columns) + ((3,) if pixels.is_colour else ())
    if found.shape != expected:
        raise UnsupportedFormatError(
            f"{shown(path)}: frame {frame} decoded to {found.shape}, expected {expected}"
        )
    if pixels.is_colour:
        return (found >> max(0, pixels.stored - 8)).astype(np.uint8)
    return found if pixels.real else _only_stored_bits(path, found, pixels)


def _decoded(path: Path, pixels: PixelFormat, frame: int) -> NDArray[Any]:
    from pydicom.pixels import get_decoder, pixel_array
    from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

    syntax = UID(pixels.syntax)
    try:
        known = not pixels.is_compressed or get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    if not known or (syntax == _EXTENDED_JPEG and pixels.stored > 8):
        return _by_imagecodecs(path, pixels, frame)
    deflated = syntax == DeflatedExplicitVRLittleEndian
    source: Any = _inflated(path) if deflated else path
    options: dict[str, Any] = {
        "transfer_syntax_uid": ExplicitVRLittleEndian if deflated else syntax,
        "rows": pixels.rows,
        "columns": pixels.columns,
        "number_of_frames": pixels.frames,
        "samples_per_pixel": pixels.samples,
        "bits_allocated": pixels.allocated,
        "bits_stored": pixels.stored if pixels.is_compressed else pixels.allocated,
        "photometric_interpretation": pixels.photometric,
    }
    if not pixels.real:
        options["pixel_representation"] = int(pixels.signed)
    if pixels.samples > 1:
        options["planar_configuration"] = int(pixels.planar)
    found: NDArray[Any] = pixel_array(source, index=frame, **options)
    return found


def _inflated(path: Path) -> io.BytesIO:
    """A deflated file as an explicit one in memory: pydicom decodes single frames of those only."""
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian

    whole_file = pydicom.dcmread(path)
    whole_file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plain = io.BytesIO()
    whole_file.save_as(plain, enforce_file_format=True)
    plain.seek(0)
    return plain


def _by_imagecodecs(path: Path, pixels: PixelFormat, frame: int) -> NDArray[Any]:
    import imagecodecs
    import pydicom
    from pydicom.encaps import get_frame
    from pydicom.uid import UID

    if pixels.syntax not in _BY_IMAGECODECS:
        name = UID(pixels.syntax).name
        raise UnsupportedFormatError(
            f"{shown(path)}: pixels packed as {name} ({pixels.syntax}) can't be decoded here; convert the file to an "
            "uncompressed transfer syntax first (gdcmconv --raw, dcmdjpeg)"
        )
    with path.open("rb") as file:
        pydicom.dcmread(file, stop_before_pixels=True, force=True)
        file.seek(12, io.SEEK_CUR)  # tag, representation and length: the frames follow
        packed = get_frame(file, frame, number_of_frames=pixels.frames)
    found: NDArray[Any] = getattr(imagecodecs, _BY_IMAGECODECS[pixels.syntax])(packed)
    if pixels.signed and found.dtype.kind == "u":
        found = found.view(f"i{found.dtype.itemsize}")
    return found


def _only_stored_bits(path: Path, found: NDArray[Any], pixels: PixelFormat) -> NDArray[Any]:
    """Drop overlays and whatever else stands above the stored bits, and extend the sign."""
    width = found.dtype.itemsize * 8
    above = width - pixels.stored
    if above <= 0:
        return found
    kept = (found.view(f"{pixels.dtype.kind}{width // 8}") << above) >> above
    if pixels.high_bit != pixels.stored - 1 and (kept != found).any():
        raise UnsupportedFormatError(
            f"{shown(path)}: {pixels.stored} bits are stored up to bit {pixels.high_bit}, which the standard no longer "
            "allows and which can't be told from an error; convert the file first (gdcmconv --raw)"
        )
    return np.asarray(kept)
