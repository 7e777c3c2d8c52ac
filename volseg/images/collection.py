"""Groups that hold several images: plates, wells, and what bioformats2raw writes."""

from __future__ import annotations

from typing import Any

from volseg.errors import NotOmeZarrError, VolsegError
from volseg.images.documents import Documents
from volseg.images.groups import group_in
from volseg.storage import check_key

MOST_WELLS = 200
MOST_LISTED = 50
MOST_SERIES = 1000


def why_no_image(documents: Documents, attributes: dict[str, Any]) -> str:
    """Return why a group without ``multiscales`` is no image, naming the images (or labels) in it."""
    where = documents.store.location
    if isinstance(names := attributes.get("labels"), list):
        listed = ", ".join(f"{where}/{name}" for name in names[:MOST_LISTED]) or "none"
        return f"{where} is the group of an image's labels, not an image; in it are: {listed}"
    inside = [f"{where}/{path}" for path in images_inside(documents, attributes)]
    if not inside:
        return f"{where} is a Zarr group, but not an OME-Zarr image: it has no 'multiscales'"
    listing = "\n  ".join(inside[:MOST_LISTED])
    left = len(inside) - MOST_LISTED
    more = f"\n  and {left} more" if left > 0 else ""
    return f"{where} is a collection of images; open one of them:\n  {listing}{more}"


def images_inside(documents: Documents, attributes: dict[str, Any]) -> list[str]:
    """Return the paths of the images in a plate, well or bioformats2raw root; of a plate's first wells."""
    if isinstance(attributes.get("plate"), dict):
        wells = _paths(attributes["plate"].get("wells"))
        return [image for well in wells[:MOST_WELLS] for image in _in_well(documents, well)]
    if isinstance(attributes.get("well"), dict):
        return _paths(attributes["well"].get("images"))
    series = _attributes(documents, "OME").get("series")
    if isinstance(series, list):
        return [path for path in series if _is_path(path)]
    if "bioformats2raw.layout" in attributes:
        return _numbered(documents)
    return []


def _in_well(documents: Documents, path: str) -> list[str]:
    well = _attributes(documents, path).get("well")
    images = _paths(well.get("images")) if isinstance(well, dict) else []
    return [f"{path}/{image}" for image in images] or [path]


def _numbered(documents: Documents) -> list[str]:
    """Return the images 0, 1, 2, … of a root that doesn't list them: by listing, else by looking for each."""
    try:
        return sorted((n for n in documents.store.list_names() if n.isdigit()), key=int)
    except VolsegError:
        found: list[str] = []
        while len(found) < MOST_SERIES and _attributes(documents, str(len(found))):
            found.append(str(len(found)))
        return found


def _attributes(documents: Documents, path: str) -> dict[str, Any]:
    """Return a group's NGFF attributes, none where it is missing or damaged."""
    try:
        found = group_in(documents, path)
    except NotOmeZarrError:
        return {}
    return found[1] if found else {}


def _paths(items: Any) -> list[str]:
    """Return the safe paths that a list of wells or images names."""
    named: list[Any] = [item.get("path") for item in items or () if isinstance(item, dict)]
    return [path for path in named if _is_path(path)]


def _is_path(path: Any) -> bool:
    try:
        return isinstance(path, str) and bool(check_key(path))
    except VolsegError:
        return False
