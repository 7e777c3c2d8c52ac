"""Masks belong to channels: label layers are seen while their channel is, and a selected channel shows only its own.

Where a slider chooses the channel, the one in view counts.
"""

from __future__ import annotations

import weakref
from typing import Any


def bind_channels(viewer: Any) -> ChannelBinding:
    """Have the label layers of a viewer follow their channels, now and in future; once per viewer is enough."""
    for callback in viewer.layers.events.inserted.callbacks:
        found = getattr(callback, "binding", None)
        if isinstance(found, ChannelBinding):
            return found
    return ChannelBinding(viewer)


class _Calls:
    """A callback that keeps its binding alive: napari holds methods weakly."""

    def __init__(self, binding: ChannelBinding, function: Any) -> None:
        self.binding = binding
        self._function = function

    def __call__(self, event: Any) -> None:
        self._function(event)


class ChannelBinding:
    """Follows the visibility and selection of image layers.

    A channel that is hidden hides its label layers, one that is shown again shows those that it had hidden. Where
    another channel is selected, the label layers of channels that are not selected are hidden in the same way.

    Parameters
    ----------
    viewer
        A viewer or its model.
    """

    def __init__(self, viewer: Any) -> None:
        self._viewer = weakref.ref(viewer)
        self._hidden: weakref.WeakSet[Any] = weakref.WeakSet()
        viewer.layers.events.inserted.connect(_Calls(self, self._inserted))
        viewer.layers.selection.events.active.connect(_Calls(self, self._selected))
        viewer.dims.events.current_step.connect(_Calls(self, self._stepped))
        for layer in viewer.layers:
            self._watch(layer)

    def _inserted(self, event: Any) -> None:
        self._watch(event.value)

    def _watch(self, layer: Any) -> None:
        if _kind(layer) == "image":
            layer.events.visible.connect(_Calls(self, self._shown_or_hidden))
        self._follow()

    def _shown_or_hidden(self, event: Any) -> None:
        self._follow()

    def _selected(self, event: Any) -> None:
        self._follow()

    def _stepped(self, event: Any) -> None:
        viewer = self._viewer()
        if viewer is not None and any(_told(layer).get("slider") for layer in viewer.layers):
            self._follow()

    def _follow(self) -> None:
        """Bring all label layers in line."""
        viewer = self._viewer()
        if viewer is None:
            return
        active = viewer.layers.selection.active
        solo = active if active is not None and _kind(active) == "image" else None
        for layer in viewer.layers:
            if _kind(layer) != "labels":
                continue
            channels = [other for other in viewer.layers if _belongs(layer, other)]
            if not channels:
                continue
            seen = any(other.visible and _in_view(viewer, layer, other) for other in channels)
            if solo is not None and _url(solo) == _url(layer):
                seen = seen and solo in channels
            if not seen and layer.visible:
                self._hidden.add(layer)
                layer.visible = False
            elif seen and layer in self._hidden:
                self._hidden.discard(layer)
                layer.visible = True


def _told(layer: Any) -> dict[str, Any]:
    told: dict[str, Any] = layer.metadata.get("volseg", {})
    return told


def _url(layer: Any) -> str | None:
    return _told(layer).get("url")


def _kind(layer: Any) -> str | None:
    """Return "image" or "labels" for layers of volumes, None for others."""
    told = _told(layer)
    if "labels" in told:
        return "labels"
    return "image" if "channel" in told else None


def _channels(layer: Any) -> set[int]:
    channel = _told(layer).get("channel")
    if channel is None:
        return set()
    return {channel} if isinstance(channel, int) else set(channel)


def channel_in_view(viewer: Any, layer: Any) -> int:
    """Return the channel that a slider shows of a layer with all channels."""
    return int(viewer.dims.current_step[-layer.ndim])


def channel_to_bind(viewer: Any, url: str) -> int | None:
    """Return the channel of a volume that a person looks at: that of the selected layer, if it is seen, else the one
    on top of those that are seen; None for a colour image, or where none is known.
    """
    images = [one for one in viewer.layers if _kind(one) == "image" and _url(one) == url]
    for image in images:
        if _told(image).get("slider"):
            return channel_in_view(viewer, image)
    seen = [image for image in images if image.visible] or images
    offered = [_told(image).get("channel") for image in seen]
    active = viewer.layers.selection.active
    told = {} if active is None or _url(active) != url else _told(active)
    if "prompts" in told:  # they are of a label image, which is of a channel
        labels = (_told(one) for one in viewer.layers if _told(one).get("url") == url)
        told = next((one for one in labels if one.get("labels") == told["prompts"]), {})
    chosen = (
        told.get("channel") if told.get("channel") in offered else next(reversed(offered), None)
    )
    return chosen if isinstance(chosen, int) else None


def _in_view(viewer: Any, labels: Any, image: Any) -> bool:
    """Tell whether the channels of labels are on the screen, where a slider chooses one."""
    return not _told(image).get("slider") or channel_in_view(viewer, image) in _channels(labels)


def _belongs(labels: Any, image: Any) -> bool:
    """Tell whether a label layer's objects were seen in an image layer's channel."""
    same = _kind(image) == "image" and _url(image) == _url(labels)
    return same and bool(_channels(labels) & _channels(image))
