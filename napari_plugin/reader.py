"""The reader of `*.zarr`: hands napari what `napari_plugin.layers` makes of a volume."""

from collections.abc import Callable
from typing import Any

from volseg.errors import InputError

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[LayerData]] | None:
    """Return a reading function for an OME-Zarr image at a path or URL, None for anything else (npe2's contract).

    Parameters
    ----------
    path
        One path or URL. A list is several images: those are opened one by one by napari itself.
    """
    if not isinstance(path, str):
        return None
    from volseg.volume.image import open_volume

    try:
        open_volume(path)
    except InputError:
        return None
    return _read


def _read(path: str | list[str]) -> list[LayerData]:
    from napari_plugin.layers import layers_of
    from volseg.volume.image import open_volume

    return layers_of(open_volume(str(path)))
