"""Volumes and label images as napari layers: lazy, several levels, in micrometres. No Qt, no viewer."""

from pathlib import Path
from typing import Any

import dask.array as da

from napari_plugin.session import Session, open_session
from volseg.volume.image import Volume
from volseg.volume.labels import Labels

LayerData = tuple[Any, dict[str, Any], str]


def layers_of(volume: Volume) -> list[LayerData]:
    """Layer data for one image layer per channel (one for RGB) and one per label image.

    Parameters
    ----------
    volume
        An opened volume; nothing of its voxels is read here.

    Returns
    -------
    list of (data, options, kind)
        As a napari reader returns them. Data is a dask array, or a list of them, finest first,
        with axes (t,) z, y, x and for colour images a last axis of 3.
    """
    images = (
        [_rgb(volume)] if volume.is_rgb else [_channel(volume, c) for c in range(volume.n_channels)]
    )
    return images + [_labels(volume, labels) for labels in volume.labels.values()]


def _lazy(level: Any) -> da.Array:
    """A level as a dask array whose blocks are the level's chunks."""
    return da.from_array(level, chunks=level.chunks, name=False, asarray=True)


def _data(arrays: list[da.Array]) -> da.Array | list[da.Array]:
    """What napari takes: an array, or a list of several levels."""
    return arrays if len(arrays) > 1 else arrays[0]


def _channel(volume: Volume, index: int) -> LayerData:
    channel = volume.channels[index]
    axis = _channel_axis(volume)
    arrays = [_lazy(level.lazy) for level in volume.levels]
    if axis is not None:
        arrays = [da.take(array, index, axis=axis) for array in arrays]
    options = _placed(volume, volume.scale, arrays[0].ndim) | {
        "name": channel.name if volume.n_channels > 1 else volume.name,
        "blending": "additive",
        "metadata": {"volseg": {"url": volume.location.url, "channel": index}},
    }
    if channel.window is not None:
        options["contrast_limits"] = channel.window
    if channel.color is not None:
        options["colormap"] = f"#{channel.color}"
    return _data(arrays), options, "image"


def _rgb(volume: Volume) -> LayerData:
    axis = _channel_axis(volume)
    arrays = [da.moveaxis(_lazy(level.lazy), axis, -1) for level in volume.levels]
    options = _placed(volume, volume.scale, arrays[0].ndim - 1) | {
        "name": volume.name,
        "rgb": True,
        "metadata": {"volseg": {"url": volume.location.url, "channel": [0, 1, 2]}},
    }
    return _data(arrays), options, "image"


def _labels(volume: Volume, labels: Labels) -> LayerData:
    arrays = [_lazy(level) for level in labels.levels]
    told = {"url": volume.location.url, "labels": labels.name, "channel": labels.channel}
    options = _placed(volume, labels.scale, arrays[0].ndim) | {
        "name": labels.name,
        "metadata": {"volseg": told},
    }
    return _data(arrays), options, "labels"


def _channel_axis(volume: Volume) -> int | None:
    return None if "c" not in volume.axes else int("t" in volume.axes)


def _placed(volume: Volume, scale_um: tuple[float, float, float], ndim: int) -> dict[str, Any]:
    """Scale and units for (t,) z, y, x; time in steps."""
    times = ndim - 3
    return {
        "scale": (1.0,) * times + tuple(scale_um),
        "units": ("pixel",) * times + ("micrometer",) * 3,
        "axis_labels": ("t",) * times + ("z", "y", "x"),
    }


def add_volume(
    viewer: Any,
    url: str | Path,
    *,
    labels_at: str | Path | None = None,
    annotator: str | None = None,
    profile: str | None = None,
    endpoint: str | None = None,
    **options: Any,
) -> Session:
    """Open a volume and add its layers; waits for the store to answer for the metadata.

    In the GUI thread call `open_session` on another thread and then `add_session`.

    Parameters
    ----------
    viewer
        A viewer, or a `ViewerModel`.
    url, labels_at, annotator, profile, endpoint, **options
        As `open_session` takes them.

    Raises
    ------
    VolsegError
        As `open_session` does.
    """
    session = open_session(
        url,
        labels_at=labels_at,
        annotator=annotator,
        profile=profile,
        endpoint=endpoint,
        **options,
    )
    add_session(viewer, session)
    return session


def add_session(viewer: Any, session: Session) -> list[Any]:
    """Add the image and label layers of an open volume to a viewer, and return them."""
    added = []
    for data, settings, kind in layers_of(session.volume):
        settings["metadata"]["volseg"]["session"] = session
        added.append(getattr(viewer, f"add_{kind}")(data, **settings))
    return added


def session_of(thing: Any) -> Session | None:
    """Return the session of a layer; of a viewer that of its active layer, else of the first that has one."""
    layers = getattr(thing, "layers", None)
    if layers is None:
        session = getattr(thing, "metadata", {}).get("volseg", {}).get("session")
        return None if session is None or session.is_closed else session
    active = layers.selection.active
    for layer in [*([] if active is None else [active]), *layers]:
        session = session_of(layer)
        if session is not None:
            return session
    return None


def add_labels_layer(viewer: Any, session: Session, name: str) -> Any:
    """Add the layer of one label image, as one that was just created, and return it."""
    data, settings, _ = _labels(session.volume, session.editing(name).labels)
    settings["metadata"]["volseg"]["session"] = session
    return viewer.add_labels(data, **settings)
