"""Volumes and label images as napari layers: lazy, several levels, in micrometres. No Qt, no viewer."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_plugin.channels import bind_channels
from napari_plugin.gui import Soon, at_quit, on_gui
from napari_plugin.levels import LevelView
from napari_plugin.session import Session, open_session
from napari_plugin.tilegrid import Key
from napari_plugin.tiles import Tiles
from volseg.geometry import Region
from volseg.images.image import Volume
from volseg.images.labels import Labels

if TYPE_CHECKING:
    import dask.array as da

_log = logging.getLogger(__name__)
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
    import dask.array as da  # loads xarray and pandas: no window waits for that

    return da.from_array(level, chunks=level.chunks, name=False, asarray=True)


def _data(arrays: list[da.Array]) -> da.Array | list[da.Array]:
    """What napari takes: an array, or a list of several levels."""
    return arrays if len(arrays) > 1 else arrays[0]


def _channel(volume: Volume, index: int) -> LayerData:
    import dask.array as da

    axis = _channel_axis(volume)
    arrays = [_lazy(level) for level in volume.levels]
    if axis is not None:
        arrays = [da.take(array, index, axis=axis) for array in arrays]
    return _data(arrays), _channel_options(volume, index), "image"


def _channel_options(volume: Volume, index: int) -> dict[str, Any]:
    channel = volume.channels[index]
    options = _placed(volume, volume.scale, volume.levels[0].translation) | {
        "name": channel.name if volume.n_channels > 1 else volume.name,
        "blending": "additive",
        "metadata": {"volseg": {"url": volume.location.url, "channel": index}},
    }
    if channel.window is not None:
        options["contrast_limits"] = channel.window
    if channel.color is not None:
        options["colormap"] = f"#{channel.color}"
    return options


def _rgb(volume: Volume) -> LayerData:
    import dask.array as da

    axis = _channel_axis(volume)
    arrays = [da.moveaxis(_lazy(level), axis, -1) for level in volume.levels]
    return _data(arrays), _rgb_options(volume), "image"


def _rgb_options(volume: Volume) -> dict[str, Any]:
    told = {"url": volume.location.url, "channel": [0, 1, 2]}
    return _placed(volume, volume.scale, volume.levels[0].translation) | {
        "name": volume.name,
        "rgb": True,
        "metadata": {"volseg": told},
    }


def _slider_options(session: Session) -> dict[str, Any]:
    """Options of a layer with all channels; they come first, so that label layers, which have none, line up."""
    volume = session.volume
    placed = {
        key: (first, *rest)
        for (key, rest), first in zip(
            _placed(volume, volume.scale, volume.levels[0].translation).items(),
            (1.0, 0.0, "pixel", "c"),
            strict=True,
        )
    }
    low, high = zip(*session.contrast, strict=True)
    told = {"url": volume.location.url, "channel": list(range(volume.n_channels))}
    return placed | {
        "name": volume.name,
        "contrast_limits": (min(low), max(high)),
        "metadata": {"volseg": told | {"slider": True}},
    }


def _labels(volume: Volume, labels: Labels) -> LayerData:
    arrays = [_lazy(level) for level in labels.levels]
    return _data(arrays), _label_options(volume, labels), "labels"


def _label_options(volume: Volume, labels: Labels) -> dict[str, Any]:
    told = {"url": volume.location.url, "labels": labels.name, "channel": labels.channel}
    # on a coarser grid the first voxel's centre is that of several of the image's
    first, image = labels.levels[0].translation, volume.levels[0].translation
    apart = zip(first, image, volume.scale, strict=True)
    near = all(abs(a - b) <= 1e-6 * size for a, b, size in apart)
    placed = _placed(volume, labels.scale, image if near else first)
    return placed | {"name": labels.name, "metadata": {"volseg": told}}


def _channel_axis(volume: Volume) -> int | None:
    return None if "c" not in volume.axes else int("t" in volume.axes)


def _placed(
    volume: Volume, scale_um: tuple[float, float, float], first_um: tuple[float, float, float]
) -> dict[str, Any]:
    """Scale, centre of the first voxel and units for (t,) z, y, x; time in steps."""
    times = int("t" in volume.axes)
    return {
        "scale": (1.0,) * times + tuple(scale_um),
        "translate": (0.0,) * times + tuple(first_um),
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
    channel_slider: bool = False,
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
    channel_slider
        As `add_session` takes it.

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
    add_session(viewer, session, channel_slider=channel_slider)
    return session


def add_session(viewer: Any, session: Session, *, channel_slider: bool = False) -> list[Any]:
    """Add the image and label layers of an open volume to a viewer, and return them; reads nothing.

    Layers show what is in memory and are drawn anew as more comes in. A label layer follows its channel. When the last
    layer is removed, the session is closed on another thread; an error then comes with `session.failed`.

    Parameters
    ----------
    viewer
        A viewer, or a `ViewerModel`.
    session
        The volume.
    channel_slider
        Show one channel at a time in one layer, chosen by a slider, instead of a layer per channel.
    """
    layers = layers_of_session(session, channel_slider=channel_slider)
    for _ in add_in_turn(viewer, session, layers):
        pass
    return layers


def layers_of_session(session: Session, *, channel_slider: bool = False) -> list[Any]:
    """Return new layers of an open volume, those of its image first; see `add_session`."""
    images = image_layers(session, channel_slider=channel_slider)
    return [*images, *(label_layer(session, name) for name in session.label_names)]


def add_in_turn(viewer: Any, session: Session, layers: Sequence[Any]) -> Iterator[None]:
    """Add the layers of an open volume one at each step, as `add_session` does at once.

    Where all layers so far are removed between two steps, the session is closed and no more are added.
    """
    viewer = getattr(viewer, "__wrapped__", viewer)  # plugins are handed a proxy
    _close_with_layers(viewer, session)
    for number, layer in enumerate(layers):
        if number:
            yield
            if not any(session_of(one) is session for one in viewer.layers):
                return
        viewer.add_layer(layer)
    bind_channels(viewer)
    _bind_keys(viewer)
    if getattr(viewer, "window", None) is not None:
        from napari_plugin.unsaved_widget import sign_of  # needs Qt, which a script may lack

        if (sign := sign_of(viewer)) is not None:
            sign.watch(session)


def _bind_keys(viewer: Any) -> None:
    """Have every key work from now on, whether or not a panel is open."""
    if getattr(viewer, "window", None) is None:
        from napari_plugin.desk import desk_of

        desk_of(viewer)
    else:
        from napari_plugin.widgets import desk_with_notices

        desk_with_notices(viewer)


def add_labels_layer(viewer: Any, session: Session, name: str) -> Any:
    """Add the layer of one label image, as one that was just created, and return it."""
    layer = label_layer(session, name)
    viewer.add_layer(layer)
    return layer


def image_layers(session: Session, *, channel_slider: bool = False) -> list[Any]:
    """Return a layer per channel, or one for a colour image; one with its channels along the first axis if asked."""
    volume = session.volume
    times = "t" * ("t" in volume.axes)
    if volume.is_rgb:
        return [_image_layer(session, _rgb_options(volume), f"{times}zyxc", 0)]
    if channel_slider and volume.n_channels > 1:
        return [_image_layer(session, _slider_options(session), f"c{times}zyx", 0)]
    return [
        _image_layer(
            session,
            _channel_options(volume, c) | {"contrast_limits": session.contrast[c]},
            f"{times}zyx",
            c,
        )
        for c in range(volume.n_channels)
    ]


def _image_layer(session: Session, options: dict[str, Any], axes: str, channel: int) -> Any:
    from napari.layers import Image

    volume, tiles = session.volume, session.tiles
    sizes = [dict(zip("zyx", level.shape, strict=True)) for level in tiles.levels]
    rest = {"t": volume.n_times, "c": volume.n_channels}
    views = [
        LevelView(tiles, i, axes, tuple((size | rest)[a] for a in axes), channel)
        for i, size in enumerate(sizes)
    ]
    options["metadata"]["volseg"]["session"] = session
    own = overrides()
    layer = (own.LazyImage if own else Image)(views, multiscale=True, **options)
    _draw_when_loaded(layer, tiles)
    return layer


def label_layer(session: Session, name: str) -> Any:
    """Return the layer of a label image: editable where the label image and this napari are."""
    from napari.layers import Labels as StockLabels

    volume, tiles = session.volume, session.label_tiles(name)
    options = _label_options(volume, tiles.labels)
    options["metadata"]["volseg"]["session"] = session
    times = "t" in volume.axes
    shapes = [(volume.n_times,) * times + level.shape for level in tiles.levels]
    axes = "t" * times + "zyx"
    own = overrides()
    if own is None:
        views = [LevelView(tiles, i, axes, shape) for i, shape in enumerate(shapes)]
        return StockLabels(views, multiscale=True, **options)
    layer = own.EditableLabels(own.EditablePyramid(tiles, axes, shapes), **options)
    layer.preserve_labels = True  # other objects are protected unless asked
    _draw_when_loaded(layer, tiles)
    if tiles.editing is not None:
        weak = weakref.ref(layer)

        def changed(region: Region, time: int) -> None:
            found = weak()
            if found is not None:
                found.show_changes(time, region)

        tiles.editing.changed.connect(on_gui(changed))
    return layer


@cache
def overrides() -> Any:
    """Return the module of layers that need private parts of napari, None where this napari lacks them."""
    try:
        from napari_plugin import overrides as module

        missing = module.missing_parts()
    except (ImportError, AttributeError, TypeError) as error:
        missing = [str(error)]
    if not missing:
        return module
    _log.warning(
        "this napari lacks what editing in place needs (%s): label images are shown read only; "
        "install napari>=0.9.2,<0.10",
        "; ".join(missing),
    )
    return None


def _draw_when_loaded(layer: Any, tiles: Tiles) -> None:
    """Draw a layer anew when tiles come in that it lacked."""
    weak = weakref.ref(layer)

    def draw() -> None:
        found = weak()
        if found is None or not found.visible:
            return
        if overrides():
            found.show_loaded()
        else:
            found.refresh(extent=False, highlight=False)

    soon = Soon(draw)

    def loaded(key: Key) -> None:
        if weak() is None:
            tiles.on_loaded.remove(loaded)
        else:
            soon.ask()

    tiles.on_loaded.append(loaded)


def _close_with_layers(viewer: Any, session: Session) -> None:
    def removed(event: Any) -> None:
        if session_of(event.value) is session and not any(
            session_of(layer) is session for layer in viewer.layers
        ):
            threading.Thread(target=session.close_quietly, name="volseg-close").start()

    viewer.layers.events.removed.connect(removed)
    at_quit(session.close_quietly)


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
