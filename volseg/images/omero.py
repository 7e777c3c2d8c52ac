"""What one OME-Zarr hands on to a copy of it, beside voxels: display settings of channels, colours of ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from volseg.errors import ChangedError, NotThereError
from volseg.images.groups import read_group
from volseg.images.metadata import group_key, ngff_attributes, to_json
from volseg.storage import Store

if TYPE_CHECKING:
    from volseg.images.image import Volume
    from volseg.images.labels import Labels


def carry_omero(source: Any, target: Volume, names: Sequence[str] | None = None) -> None:
    """Let a volume have the channels' names, colours, windows and whatever else another's ``omero`` says.

    What the target has stands where the source says nothing; an ``omero`` of another number of channels says nothing.

    Parameters
    ----------
    source
        ``omero`` of the source, of whatever content.
    target
        Opened writable.
    names
        Names of the channels that stand, whatever the source says.
    """
    theirs = source.get("channels") if isinstance(source, dict) else None
    if not isinstance(theirs, list) or len(theirs) != target.n_channels:
        return
    if not all(isinstance(channel, dict) for channel in theirs) or not _is_json(source):
        return

    def change(content: dict[str, Any]) -> None:
        ours = content["omero"]
        channels = [_joined(a, b) for a, b in zip(ours["channels"], theirs, strict=True)]
        for channel, name in zip(channels, names or (), strict=False):
            channel["label"] = name
        content["omero"] = {**ours, **source, "channels": channels}

    _change(target.store, change)


def _is_json(value: Any) -> bool:
    """Whether a value can be written as JSON proper, which NaN and infinity can't."""
    try:
        to_json(value)
    except ValueError:
        return False
    return True


def _joined(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """One channel; a window is taken over only with both of its ends."""
    joined = {**ours, **{key: value for key, value in theirs.items() if value is not None}}
    window = theirs.get("window")
    ends = [window.get(end) for end in ("start", "end")] if isinstance(window, dict) else [None]
    numbers = all(isinstance(end, (int, float)) and not isinstance(end, bool) for end in ends)
    joined["window"] = {**ours["window"], **window} if window and numbers else ours["window"]
    return joined


def carry_label_metadata(source: Labels, target: Labels) -> None:
    """Let a label image have another's colours and properties; rows of its own table stay where the source has none."""
    theirs = source.multiscale.attributes.get("image-label")
    if not isinstance(theirs, dict):
        return
    kept = {
        key: theirs[key] for key in ("colors", "properties") if isinstance(theirs.get(key), list)
    }

    def change(content: dict[str, Any]) -> None:
        if "colors" in kept and "properties" not in kept:  # of other ids than ours, perhaps
            content["image-label"].pop("properties", None)
        content["image-label"] |= kept

    if kept:
        _change(target.store, change)


def _change(store: Store, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the NGFF attributes of a group by conditional puts."""
    while True:
        found = read_group(store)
        if found is None:
            raise NotThereError(f"{store.location} does not exist")
        version, content = found
        key = group_key(version)
        stored = store.get_with_etag(key)
        if stored is None:
            raise NotThereError(f"{store.location}/{key} does not exist")
        change(content)
        document: Any = ngff_attributes(version, content)
        if version != "0.4":
            document = {"zarr_format": 3, "node_type": "group", "attributes": document}
        try:
            store.put_if(key, to_json(document), stored[1])
            return
        except ChangedError:
            continue
