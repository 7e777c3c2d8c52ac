"""One open volume with its label images under edit: what all of the plugin's models share. No Qt, no napari."""

from __future__ import annotations

import getpass
import logging
import os
import threading
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from psygnal import EmitLoopError, Signal

from napari_plugin.editable import LabelTiles
from napari_plugin.editing import EditState, LabelEditing
from napari_plugin.levels import image_tiles
from napari_plugin.tiles import Tiles
from volseg.editing.options import EditorOptions
from volseg.errors import InputError, NotOmeZarrError, VolsegError
from volseg.images.contrast import contrast_limits, widened
from volseg.images.image import Volume, open_volume
from volseg.images.labels import Labels

__all__ = ["EditState", "LabelEditing", "Session", "open_session", "use_credentials"]

_log = logging.getLogger(__name__)
_LOOK_S = 0.2
_REFRESH_S = 15.0
_TELL_AGAIN_S = 5.0


class Session:
    """An open volume and the editors of its label images.

    Parameters
    ----------
    volume
        The volume.
    annotator
        Who edits.
    refresh_s
        Seconds after which the edits of others are taken in; None: only when one's own are stored.
    **options
        For every editor; see `EditorOptions`.

    Attributes
    ----------
    changed
        Signal(name, region): voxels of a label image look different now.
    failed
        Signal(Exception): something could not be read or stored; told once per error and place.
    state_changed
        Signal(str, EditState): how far the edits of a label image are.
    """

    changed = Signal(str, tuple)
    failed = Signal(Exception)
    state_changed = Signal(str, EditState)

    def __init__(
        self,
        volume: Volume,
        annotator: str,
        *,
        refresh_s: float | None = _REFRESH_S,
        **options: Unpack[EditorOptions],
    ) -> None:
        self.volume = volume
        self.annotator = annotator
        self._refresh_s = refresh_s
        self._options = options
        self._editing: dict[str, LabelEditing] = {}
        self._labels: dict[str, LabelTiles] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._told = ("", -_TELL_AGAIN_S)
        self._watching: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"Session({self.url!r}, {self.annotator!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Session:
        return self  # napari copies layers' metadata

    @property
    def url(self) -> str:
        """Where the volume is."""
        return self.volume.location.url

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._ended.is_set()

    def editing(self, name: str) -> LabelEditing:
        """Return the editing of a label image; the first call reads its metadata and starts to open the editor.

        Raises
        ------
        NotThereError
            If there is no label image of this name.
        InputError
            If the session is closed.
        """
        with self._lock:
            if self._ended.is_set():
                raise InputError(f"{self.url} is closed; open it again")
            found = self._editing.get(name)
            if found is None:
                found = LabelEditing(self.volume.labels[name], self.annotator, **self._options)
                self._take(found)
            return found

    @property
    def editings(self) -> list[LabelEditing]:
        """The label images that are open for editing; never waits."""
        return list(self._editing.values())

    def opened(self, name: str) -> LabelEditing | None:
        """Return the editing of a label image if there is one already; never waits."""
        return self._editing.get(name)

    @cached_property
    def tiles(self) -> Tiles:
        """The image in memory, for all layers of its channels."""
        tiles = image_tiles(self.volume)
        tiles.on_failed = self._tell
        return tiles

    def label_tiles(self, name: str) -> LabelTiles:
        """Return a label image in memory, for its layer; the first call waits for its metadata.

        It is editable unless its store is read only or it is no pyramid that volseg can keep.
        """
        found = self._labels.get(name)
        if found is None:
            labels = self.volume.labels[name]
            found = LabelTiles(labels, self.editing(name) if _editable(labels) else None)
            found.on_failed = self._tell
            self._labels[name] = found
        return found

    @cached_property
    def contrast(self) -> list[tuple[float, float]]:
        """Display window per channel: what the file says, else that of a plane of the coarsest level; waits.

        The whole range of a type of two bytes and more says nothing: pictures would be black.
        """
        dtype = self.volume.dtype
        whole = (
            None
            if dtype.kind not in "ui" or dtype.itemsize == 1
            else (float(np.iinfo(dtype).min), float(np.iinfo(dtype).max))
        )
        return [
            channel.window
            if channel.window not in (None, whole)
            else _seen_range(self.volume, channel.index)
            for channel in self.volume.channels
        ]

    @property
    def label_names(self) -> list[str]:
        """The label images that are in memory; never waits."""
        return list(self._labels)

    def prepare(self) -> None:
        """Read what layers need to know before they are made; waits, so that the GUI thread need not."""
        if not self.volume.is_rgb:
            _ = self.contrast
        for name in self.volume.labels:
            self.label_tiles(name)

    def create_labels(
        self, name: str, channel: int | Sequence[int] | None = None, **options: Any
    ) -> LabelEditing:
        """Create an empty label image bound to a channel and open it for editing; not for the GUI thread.

        Parameters
        ----------
        name
            Of the label image.
        channel
            Channel (or channels) of the image that its objects belong to.
        **options
            Of `Volume.create_labels`.

        Raises
        ------
        NameRefusedError, ExistsError, InputError, StorageError
            As `Volume.create_labels` does.
        """
        self.volume.create_labels(name, channel=channel, **options)
        return self.editing(name)

    def close(self) -> None:
        """Make all edits durable and end; waits.

        Raises
        ------
        UnsavedEditsError
            If not everything could be stored; the message names the local copies.
        """
        with self._lock:
            self._ended.set()
            editing = list(self._editing.values())
        if self._watching is not None:
            self._watching.join()
        for tiles in (self.__dict__.get("tiles"), *self._labels.values()):
            if tiles is not None:
                tiles.close()
        errors: list[Exception] = []
        for one in editing:
            try:
                one.close()
            except Exception as error:  # the others must be closed too
                errors.append(error)
        if errors:
            for other in errors[1:]:
                errors[0].add_note(str(other))
            raise errors[0]

    def close_quietly(self) -> None:
        """Close; `failed` tells of an error."""
        try:
            self.close()
        except Exception as error:
            self._tell(error)

    def _tell(self, error: Exception) -> None:
        """Tell of an error unless it was the last one told: a store that is away fails for every tile."""
        now = time.monotonic()
        with self._lock:
            told, at = self._told
            if told == str(error) or now - at < _TELL_AGAIN_S:
                return
            self._told = (str(error), now)
        try:
            self.failed.emit(error)
        except EmitLoopError:
            _log.exception("a listener of errors failed")

    def _take(self, editing: LabelEditing) -> None:
        name = editing.name
        editing.failed.connect(lambda error: self.failed.emit(error))
        editing.changed.connect(lambda region, _: self.changed.emit(name, region))
        editing.state_changed.connect(lambda state: self.state_changed.emit(name, state))
        self._editing[name] = editing
        if self._watching is None:
            self._watching = threading.Thread(target=self._watch, name="volseg-watch", daemon=True)
            self._watching.start()

    def _watch(self) -> None:
        """Look at what changes without a call of ours: edits become durable, conflicts arise, others store theirs."""
        refreshed = time.monotonic()
        while not self._ended.wait(_LOOK_S):
            now = time.monotonic()
            due = self._refresh_s is not None and now - refreshed > self._refresh_s
            refreshed = now if due else refreshed
            for editing in list(self._editing.values()):
                try:
                    state = editing.look()
                    if due and editing.is_open and state.working is None:
                        editing.refresh()
                except VolsegError as error:
                    _log.debug("%s: %s", editing, error)


def open_session(
    url: str | Path,
    *,
    labels_at: str | Path | None = None,
    annotator: str | None = None,
    profile: str | None = None,
    endpoint: str | None = None,
    **options: Any,
) -> Session:
    """Open a volume; waits for the store, so not for the GUI thread.

    Parameters
    ----------
    url
        Path, ``s3://`` or ``https://`` URL of the OME-Zarr image.
    labels_at
        Where labels are, if not in the image.
    annotator
        Who edits; the name of the account where None.
    profile, endpoint
        AWS profile and S3 endpoint; see `use_credentials`.
    **options
        For every editor; see `Labels.edit`.

    Raises
    ------
    VolsegError
        As `open_volume` does.
    """
    use_credentials(profile, endpoint)
    session = Session(open_volume(url, labels_at), annotator or getpass.getuser(), **options)
    session.prepare()
    return session


def use_credentials(profile: str | None, endpoint: str | None) -> None:
    """Set the AWS profile and S3 endpoint of this process and of the workers that it starts; None leaves them.

    They are the usual environment variables: credentials themselves are never seen or kept.
    """
    if profile:
        os.environ["AWS_PROFILE"] = profile
    if endpoint:
        os.environ["AWS_ENDPOINT_URL"] = endpoint


def _editable(labels: Labels) -> bool:
    """Tell whether a label image can be edited."""
    try:
        return not labels.store.read_only and len(labels.factors) > 0
    except NotOmeZarrError:  # its levels are no whole multiples
        return False


def _seen_range(volume: Volume, channel: int) -> tuple[float, float]:
    """Return the contrast limits of the middle plane of the coarsest level."""
    index = len(volume.levels) - 1
    z, y, x = volume.levels[index].grid.shape
    plane = volume.read(((z // 2, z // 2 + 1), (0, y), (0, x)), level=index, channel=channel)
    return widened(*contrast_limits(lambda: [plane], plane.dtype))
