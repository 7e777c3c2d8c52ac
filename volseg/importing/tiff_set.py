"""OME-TIFF sets: several files described by the XML in one of them or in a companion; what is missing is named."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volseg.errors import NotThereError, UnsupportedFormatError
from volseg.importing.guard import printable, reading, shown
from volseg.importing.opened import SourceOptions

_MOST_XML = 2**28  # bytes of a companion file
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class OmeSet:
    """The files of a set.

    Attributes
    ----------
    names
        Of the files beside `path`, in the order of the XML; empty where the XML names none.
    missing
        Those of `names` that are not there.
    companion
        Name of a companion file that should tell and is not there.
    xml
        OME-XML to be used instead of the file's own; None: the file's own.
    """

    names: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    companion: str | None = None
    xml: str | None = None


def ome_set(file: Any, path: Path) -> OmeSet:
    """Return the set that a TIFF file says it belongs to.

    Parameters
    ----------
    file : tifffile.TiffFile
    path : Path

    Raises
    ------
    UnsupportedFormatError
        If the XML is no plain XML, or names files in other folders.
    """
    root = _root(file.ome_metadata, path) if file.is_ome else None
    if root is None:
        return OmeSet()
    own, xml = root.get("UUID"), None
    if (pointer := next(_elements(root, "BinaryOnly"), None)) is not None:
        companion = _checked(pointer.get("MetadataFile", ""), path)
        if not companion or not (path.parent / companion).is_file():
            return OmeSet(companion=companion or "its companion file")
        xml = _companion(path.parent / companion)
        if (root := _root(xml, path.parent / companion)) is None:
            raise UnsupportedFormatError(f"{shown(path.parent / companion)}: no readable OME-XML")
    named: dict[str, None] = {}
    missing: dict[str, None] = {}
    for element in _elements(root, "UUID"):
        if name := _checked(element.get("FileName", ""), path):
            named[name] = None
            if (element.text or "").strip() != own and not (path.parent / name).is_file():
                missing[name] = None
    if len(named) == 1 and missing:  # a file by itself that was renamed
        return OmeSet(xml=_without_names(root))
    return OmeSet(tuple(named), tuple(missing), xml=xml)


def check_set(found: OmeSet, path: Path, options: SourceOptions) -> None:
    """Refuse a set of which files are missing.

    Raises
    ------
    NotThereError
    """
    if found.companion is not None:
        raise NotThereError(
            f"{shown(path)}: one file of an OME-TIFF set that {printable(found.companion)} describes, which is "
            "not there; copy it beside this file, or import the folder as slices"
        )
    if not found.missing:
        return
    names = ", ".join(map(printable, found.missing[:3])) + (", …" if len(found.missing) > 3 else "")
    told = (
        f"{shown(path)}: of the {len(found.names)} files of this OME-TIFF set {len(found.missing)} "
    )
    told += f"{'is' if len(found.missing) == 1 else 'are'} missing ({names})"
    if not options.accept_gaps:
        raise NotThereError(
            f"{told}; copy what is missing beside the others, or give --accept-gaps to leave its slices black"
        )


def check_planes(pages: Any, path: Path, options: SourceOptions) -> None:
    """Refuse an image of which planes are in no file, or tell how many.

    Parameters
    ----------
    pages : sequence
        None where there is no page.

    Raises
    ------
    UnsupportedFormatError
    """
    gaps = [number for number, page in enumerate(pages) if page is None]
    if not gaps:
        return
    told = f"{shown(path)}: {len(gaps)} of the {len(pages)} planes are in no file, the first is plane {gaps[0]}"
    if not options.accept_gaps:
        raise UnsupportedFormatError(
            f"{told} (from 0); copy the missing files beside it, or give --accept-gaps to leave them black"
        )
    _LOG.warning("%s; they stay black", told)


def tell_left_over(file: Any, path: Path) -> None:
    """Tell of pages of the file that are no plane of any of its images."""
    if sum(len(series.pages) for series in file.series) >= len(file.pages):
        return
    used = {
        page.index
        for series in file.series
        for page in series.pages
        if page is not None and page.parent is file
    }
    if used and len(used) < len(file.pages):
        _LOG.warning(
            "%s: its OME-XML tells of %d of its %d pages; the others are left out",
            shown(path), len(used), len(file.pages),
        )  # fmt: skip


def _root(xml: str | None, path: Path) -> ElementTree.Element | None:
    """Return the root of an XML text; None where it is damaged."""
    if not xml:
        return None
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise UnsupportedFormatError(
            f"{shown(path)}: its OME-XML has a document type, which OME-XML never has"
        )
    try:
        return ElementTree.fromstring(xml)
    except (ElementTree.ParseError, ValueError):
        return None


def _companion(path: Path) -> str:
    """Return the OME-XML in a companion file, which may be a TIFF itself."""
    import tifffile

    with reading(path, "OME-XML companion"):
        if path.stat().st_size < _MOST_XML:
            data = path.read_bytes()
            if data[:2] not in (b"II", b"MM"):
                return data.decode("utf-8-sig")
        with tifffile.TiffFile(path) as file:
            return str(file.ome_metadata or "")


def _elements(root: ElementTree.Element, name: str) -> Any:
    return (element for element in root.iter() if element.tag.rpartition("}")[2] == name)


def _checked(name: str, path: Path) -> str:
    """Return a file name out of the XML, which must not lead elsewhere."""
    if Path(name).name != name or "\\" in name or "\0" in name:
        raise UnsupportedFormatError(
            f"{shown(path)}: its OME-XML names the file {printable(name)!r}; expected a name in the same folder"
        )
    return name


def _without_names(root: ElementTree.Element) -> str:
    """Return the XML with all its data in the file at hand."""
    for data in _elements(root, "TiffData"):
        for child in list(data):
            data.remove(child)
    return ElementTree.tostring(root, encoding="unicode")
