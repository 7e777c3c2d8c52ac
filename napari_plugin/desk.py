"""What one viewer works on: its open volume, the label image that is prompted, and the actions behind buttons and keys.

One desk per viewer, found by every widget. It owns no pixels and no widgets; whatever waits runs on other threads.
"""

from __future__ import annotations

import getpass
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from psygnal import Signal

from napari_plugin import keys
from napari_plugin.channels import channel_to_bind
from napari_plugin.clusterruns import ClusterRuns
from napari_plugin.feedback import LastLines
from napari_plugin.found_zooms import FoundZooms, Zoom
from napari_plugin.gui import Soon, Turns, in_gui, on_gui
from napari_plugin.interactive import Choice, check_grid
from napari_plugin.layers import (
    add_in_turn,
    add_labels_layer,
    label_layer,
    layers_of_session,
    session_of,
)
from napari_plugin.marks import Marks
from napari_plugin.modelprocess import ModelProcess
from napari_plugin.opening import Place, Places, checked
from napari_plugin.preload import load_layers
from napari_plugin.promptbook import PromptBook
from napari_plugin.prompting import Prompting
from napari_plugin.promptlayers import PromptLayers, part_in_view, slice_in_view
from napari_plugin.running import Doubt, Running
from napari_plugin.session import LabelEditing, Session, open_session
from napari_plugin.slicing import SliceModel
from napari_plugin.telling import Telling
from napari_plugin.workbench import workbench_of
from volseg.errors import ConflictError, InputError, StorageError
from volseg.models.registry import find_model
from volseg.prompts import PromptedObject
from volseg.prompts.models import MAX_ID


class Desk(Telling):
    """The desk of a viewer; get it with `desk_of`.

    Parameters
    ----------
    viewer
        A napari viewer.

    Attributes
    ----------
    changed
        Another volume or label image is worked on.
    shown
        Marks, mask or candidates are others.
    ran
        Something of a run is other.
    chosen
        Another model or zoom is used, or one that was asked for can't be.
    asked
        Signal(Overlap, answer): see `Prompting.asked`; on the GUI thread.
    """

    changed = Signal()
    shown = Signal()
    ran = Signal()
    chosen = Signal()
    asked = Signal(object, object)

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self.viewer = getattr(viewer, "__wrapped__", viewer)  # plugins are handed a proxy
        self.places = Places()
        self.log = LastLines().listen()
        self.annotator = getpass.getuser()
        self.model_name: str | dict[str, Any] = "nano"
        self.zooms = FoundZooms()
        self._opening: set[str] = set()
        self.bench = workbench_of(self.viewer)
        self.doubt: Doubt | None = None
        self.deployment: str | None = None
        self.cluster: ClusterRuns | None = None
        self.session: Session | None = None
        self._arriving: Session | None = None  # its layers are being added
        self.name: str | None = None
        self.model: SliceModel | None = None
        self.prompting: Prompting | None = None
        self.running: Running | None = None
        self.layers: PromptLayers | None = None
        self._coming: PromptLayers | None = None  # being added: prompting has not begun yet
        self._label_layer: Any = None
        self._chosen_object: int | None = None
        self._time = 0
        self.viewer.layers.events.inserted.connect(_Kept(self, self._inserted))
        self.viewer.layers.events.removed.connect(_Kept(self, self._removed))
        self.viewer.dims.events.point.connect(_Kept(self, self._moved))
        self.viewer.camera.events.zoom.connect(_Kept(self, self._moved))
        self.viewer.camera.events.center.connect(_Kept(self, self._moved))
        for layer in self.viewer.layers:
            self._bind(layer)
        if (session := session_of(self.viewer)) is not None:  # opened before, by a script
            self.take(session)

    # --- volumes

    def open(self, place: Place) -> threading.Thread:
        """Open a volume on another thread, and show it, once however often it is asked for; errors become notices."""
        if place.url in self._opening:
            return threading.current_thread()
        self._opening.add(place.url)

        def work() -> None:
            try:
                self._open(place)
            finally:
                self._opening.discard(place.url)

        return self.aside(work, f"opening {place.url}")

    def _open(self, place: Place) -> None:
        where = checked(place)
        session = open_session(
            where.url,
            labels_at=where.labels_at,
            annotator=self.annotator,
            profile=where.profile,
            endpoint=where.endpoint,
        )
        self.places.remember(where)
        load_layers()
        in_gui(lambda: self._show(session, where.channel_slider))

    def _show(self, session: Session, channel_slider: bool) -> None:
        if self._is_shown(session):
            session.close_quietly()
            self.said.emit(f"{session.url} is open in this window")
            return
        self._arriving = session
        Turns(self._arrive(session, channel_slider))

    def _arrive(self, session: Session, channel_slider: bool) -> Iterator[object]:
        """Add the layers of a volume in turn, and work on it when all are there."""
        try:
            layers = layers_of_session(session, channel_slider=channel_slider)
            yield from add_in_turn(self.viewer, session, layers)
        finally:
            if self._arriving is session:
                self._arriving = None
        if self._is_shown(session):  # its layers were not removed meanwhile
            self.take(session)

    def _is_shown(self, session: Session) -> bool:
        """Tell whether layers of the same volume, with labels at the same place, are in the viewer, or coming."""
        place = (session.url, session.volume.output_store.location)
        shown = [self._arriving, *(session_of(layer) for layer in self.viewer.layers)]
        return any(
            one is not None and (one.url, one.volume.output_store.location) == place
            for one in shown
        )

    def take(self, session: Session) -> None:
        """Work on a volume whose layers are in the viewer."""
        if session is self.session:
            return
        self.leave()
        self.session = session
        session.failed.connect(self._failed)
        self.changed.emit()

    def _failed(self, error: Exception) -> None:
        """Tell of trouble with the labels."""
        in_gui(lambda: self.warn(error, "working on the labels"))

    def warn(self, error: BaseException, doing: str) -> None:
        """Tell of trouble; where the sign goes on telling of it, by a line that passes; on the GUI thread."""
        if isinstance(error, (ConflictError, StorageError)):
            self.said.emit(self.note(error, doing).text)
        else:
            self.tell(error, doing)

    def new_labels(self, name: str, channel: int | None = None) -> threading.Thread:
        """Make an empty label image, show it and prompt in it."""
        session = self._session()

        def work() -> None:
            session.create_labels(name, channel)
            in_gui(lambda: add_labels_layer(self.viewer, session, name))
            in_gui(lambda: self.use(name))
            in_gui(
                lambda: self.said.emit(f"label image {name} is made: {self.channel_text(channel)}")
            )

        return self.aside(work, f"making label image {name}")

    # --- label images

    def channel_in_view(self) -> int | None:
        """The channel that a new label image belongs to; None for a colour image, which is seen as a whole."""
        return channel_to_bind(self.viewer, self._session().url)

    def channel_text(self, channel: int | None) -> str:
        """A channel in words."""
        volume = self._session().volume
        if channel is None:
            return "it belongs to the whole image"
        return f"it belongs to channel {volume.channels[channel].name} ({channel})"

    def use(self, name: str) -> threading.Thread | None:
        """Prompt in a label image of the volume."""
        session = self._session()
        if name == self.name:
            return None

        def work() -> None:
            editing = session.editing(name)
            check_grid(session.volume, editing.labels)
            book = PromptBook(editing)
            book.ready.result()
            in_gui(lambda: self._begin(editing, book))

        return self.aside(work, f"preparing to prompt in {name}")

    def _begin(self, editing: LabelEditing, book: PromptBook) -> None:
        self.leave_labels()
        volume = editing.labels.volume()
        output = volume.output_store.location
        at = None if output == volume.location else output.url
        model = SliceModel(lambda: ModelProcess(volume.location.url, at, self.choice()))
        prompting = Prompting(editing, model, book)
        running = Running(editing, book, self.choice)
        self._coming = PromptLayers(self.viewer, prompting, running)
        Turns(self._begin_with(self._coming))

    def _begin_with(self, layers: PromptLayers) -> Iterator[None]:
        """Add the layers in turn, and prompt in them when all are there and nothing else was begun meanwhile."""
        for _ in layers.add():
            yield
            if self._coming is not layers:
                return
        self._coming, self.layers = None, layers
        self.prompting, self.running = layers.prompting, layers.running
        self.model = self.prompting.model
        editing, book = self.prompting.editing, self.prompting.book
        self.name, volume = editing.name, editing.labels.volume()
        self._connect()
        self._chosen_object, self._time = None, 0
        for layer in self.viewer.layers:
            self._bind(layer)
        if self._label_layer is None:  # its layer was deleted before
            self._insert_labels(self.layers, editing.name)
            self.layers.select()
        self.zooms.look_at((volume.location.url, editing.name))
        self._fit_zoom(book.prompted())
        self._moved(None)
        self.running.take_up(self.cluster)
        self.changed.emit()

    def _connect(self) -> None:
        prompting, running, _, model = self._busy()
        prompting.changed.connect(on_gui(self._draw))
        prompting.failed.connect(on_gui(self.warn))
        prompting.answered.connect(on_gui(self._fit_zoom_to))
        if len(self.asked):  # somebody can answer
            prompting.asked.connect(on_gui(self.asked.emit))
        running.changed.connect(on_gui(lambda state: self.ran.emit()))
        running.piece.connect(on_gui(lambda i, track: self._draw_found()))
        running.finished.connect(on_gui(lambda ids, count: self._draw_found()))
        running.failed.connect(on_gui(self.tell))
        model.failed.connect(on_gui(lambda error: self.tell(error, "preparing the slice")))
        model.embedding.connect(on_gui(lambda z: self.shown.emit()))
        model.embedded.connect(on_gui(lambda z: self.shown.emit()))

    @property
    def zoom(self) -> float:
        """Model pixels per voxel at which the model sees slices now."""
        return self.zooms.number

    def choose(self, model: str | dict[str, Any], zoom: Zoom) -> None:
        """Take another model (see `Choice.model`) or zoom; what is being prompted stays.

        A model that is not there is told of once, and the former one stays.
        """
        if (model, zoom) == (self.model_name, self.zooms.asked):
            return
        if isinstance(model, str) and model != self.model_name:
            self.aside(lambda: self._find_and_take(model, zoom), f"looking for model {model}")
        else:
            self._take_choice(model, zoom)

    def _find_and_take(self, model: str, zoom: Zoom) -> None:
        try:
            find_model(model)
        except Exception:
            in_gui(self.chosen.emit)  # the former one stands there again
            raise
        in_gui(lambda: self._take_choice(model, zoom))

    def _take_choice(self, model: str | dict[str, Any], zoom: Zoom) -> None:
        self.zooms.ask(zoom, anew=model != self.model_name)
        self.model_name = model
        if self.model is not None:
            self.model.reopen()
            if self.prompting is not None:
                self._fit_zoom(self.prompting.book.prompted(self.prompting.time))
            self._moved(None)
        self.chosen.emit()

    def _fit_zoom_to(self, marks: Marks, place: tuple[int, int]) -> None:
        """Find the zoom by the first object that the model was asked about."""
        prompting = self.prompting
        if prompting is None or not self.zooms.is_open:
            return
        asked = prompting.object_id or MAX_ID
        prompt = marks.prompt(place[1], place[0], prompting.shape[1:])
        others = [one for one in prompting.book.prompted(place[0]) if one.id != asked]
        self._fit_zoom([PromptedObject(id=asked, prompts=(prompt,)), *others])

    def _fit_zoom(self, objects: Sequence[PromptedObject]) -> None:
        """Have the model's thread find the zoom that suits objects, once for each label image."""
        ticket = self.zooms.begin() if self.model is not None and objects else None
        if self.model is None or ticket is None:
            return
        future = self.model.fit(objects)
        future.add_done_callback(lambda done: in_gui(lambda: self._zoom_found(ticket, done)))

    def _zoom_found(self, ticket: int, done: Future[float]) -> None:
        error = None if done.cancelled() else done.exception()
        found = None if done.cancelled() or error is not None else done.result()
        before = self.zoom
        if self.zooms.end(ticket, found):
            self.chosen.emit()
            if self.prompting is not None and self.zoom != before:
                self.prompting.ask_again()
        elif error is not None:
            self.tell(error, "finding the zoom")

    def choice(self) -> Choice:
        """What the model looks at now."""
        channel: Any = None
        if self.prompting is not None or self.session is not None:
            editing = self.session.opened(self.name) if self.session and self.name else None
            channel = editing.labels.channel if editing is not None else None
        time = self.prompting.time if self.prompting is not None else 0
        chosen = tuple(channel) if isinstance(channel, list) else channel
        return Choice(self.model_name, chosen, time, self.zooms.known)

    def leave_labels(self) -> None:
        """Stop prompting in the label image."""
        for layers in (self._coming, self.layers):
            if layers is not None:
                layers.remove()
                layers.close()
        self.name = self.model = self.prompting = self.running = self.layers = self._coming = None
        self._label_layer = self.doubt = None

    def leave(self) -> None:
        """Let the volume go; its layers stay, and a run goes on."""
        self.leave_labels()
        self.session = None

    # --- actions of buttons and keys

    @property
    def actions(self) -> dict[str, Callable[[], object]]:
        """By the commands of `keys`."""
        return {
            "prompt": self.toggle_prompting,
            "next_candidate": lambda: self._prompts().cycle(1),
            "previous_candidate": lambda: self._prompts().cycle(-1),
            "accept": lambda: self._prompts().accept(),
            "next_object": self.next_object,
            "take_back": lambda: self._prompts().take_back(),
            "clear": lambda: self._prompts().clear(),
            "undo": lambda: self._prompts().undo(),
            "redo": lambda: self._prompts().redo(),
            "use_mask": lambda: self._prompts().use_mask(),
            "ends": lambda: self._prompts().mark_end(),
            "propagate": self.propagate,
            "cancel": lambda: self._runs().cancel(),
            "least_confident": self.least_confident,
        }

    def act(self, command: str) -> None:
        """Do one of `actions`; what goes wrong becomes a notice."""
        try:
            self.actions[command]()
        except Exception as error:
            self.tell(error, command.replace("_", " "))

    def toggle_prompting(self) -> None:
        """Go to the layer of prompts, or back to the labels."""
        self._prompts()
        if self.layers is None:
            return
        if self.layers.active and self._label_layer is not None:
            self._choose_in_labels()
            self.viewer.layers.selection.active = self._label_layer
        else:
            self.layers.select()

    def _choose_in_labels(self) -> None:
        """Have the brush work on the object that is prompted."""
        object_id = None if self.prompting is None else self.prompting.object_id
        if object_id is not None and self._label_layer is not None:
            self._chosen_object = object_id
            if self._label_layer.selected_label != object_id:
                self._label_layer.selected_label = object_id

    def next_object(self) -> None:
        """Begin the next object."""
        self._prompts().next_object()
        if self.layers is not None:
            self.layers.select()

    def propagate(self) -> None:
        """Propagate where the person chose: here, or on the cluster."""
        runs = self._runs()
        if self.deployment:
            runs.propagate_on(self.cluster or ClusterRuns(), self.deployment)
        else:
            runs.propagate()

    def least_confident(self) -> None:
        """Go to the slice that the model is least sure of."""
        doubt = self._runs().least_confident()
        if doubt is None:
            raise InputError("nothing was propagated yet, so there is no slice to be unsure of")
        self.doubt = doubt
        self.go_to(doubt.object_id, doubt.z)
        self.viewer.status = str(doubt)
        self.shown.emit()

    def go_to(self, object_id: int, z: int) -> None:
        """Show an object on a slice."""
        prompting, running, layers, _ = self._busy()
        track = running.tracks.get(object_id)
        first, size = layers.mask.translate[-3:], layers.mask.scale[-3:]
        self.viewer.dims.set_point(self.viewer.dims.ndim - 3, first[0] + z * size[0])
        if track is not None and z in track:
            y0, x0, y1, x1 = track.bbox(z)
            y, x = first[1:] + size[1:] * [(y0 + y1) / 2, (x0 + x1) / 2]
            self.viewer.camera.center = (self.viewer.camera.center[0], y, x)
        if self._label_layer is not None:
            self._label_layer.selected_label = object_id
        if object_id in prompting.book:
            prompting.select_object(object_id)

    # --- for reports

    def describe_open(self) -> list[str]:
        """What is open, for a report."""
        if self.session is None:
            return []
        lines = [self.session.url]
        for name in self.session.label_names:
            editing = self.session.opened(name)
            lines.append(f"  {name}: {'not opened' if editing is None else editing.state}")
        return lines

    # --- what the viewer does

    def _inserted(self, event: Any) -> None:
        session = session_of(event.value)
        if session is not None and session is not self._arriving:
            self.take(session)
        self._bind(event.value)

    def _removed(self, event: Any) -> None:
        layers = self.layers or self._coming
        if layers is not None and event.value in layers.all:
            self.layers = self._coming = None  # the others go too, but not while napari is removing
            Soon(layers.remove).ask()
            layers.close()
            self.leave_labels()
            self.changed.emit()
        elif event.value is self._label_layer:
            self._label_layer = None
            Soon(self._bring_back).ask()
        if self.session is not None and self.session.is_closed:
            self.leave()
            self.changed.emit()

    def _bring_back(self) -> None:
        """Show the label image again whose layer was deleted while it is prompted in: nobody accepts unseen."""
        if self.layers is None or self.session is None or self.session.is_closed:
            return
        was_prompting = self.layers.active
        self._insert_labels(self.layers, str(self.name))
        if was_prompting:
            self.layers.select()
        self.said.emit(
            f"You are prompting in {self.name}, so its layer stays. To stop, delete the layer prompts."
        )

    def _insert_labels(self, layers: PromptLayers, name: str) -> None:
        """Add the layer of a label image below those of its prompting."""
        layer = label_layer(self._session(), name)
        self.viewer.layers.insert(self.viewer.layers.index(layers.found), layer)

    def _moved(self, event: Any) -> None:
        if self.layers is None or self.prompting is None or self.model is None:
            return
        has_time = self.session is not None and "t" in self.session.volume.axes
        z, time = slice_in_view(self.viewer, self.layers.mask, has_time=has_time)
        if z < self.prompting.shape[0]:
            if time != self._time:
                self._time = time
                self.model.reopen()  # it looks at one time point
            self.prompting.look_at(z, time)
            image = next((one for one in self.viewer.layers if _is_image(one)), None)
            part = None if image is None else part_in_view(self.viewer, image)
            self.model.look_at(z, part)

    def _draw(self) -> None:
        if self.layers is not None:
            self.layers.draw()
        if self.prompting is not None and self.prompting.object_id != self._chosen_object:
            self._choose_in_labels()
        self.shown.emit()

    def _draw_found(self) -> None:
        if self.layers is not None:
            self.layers.draw_found()
        self.ran.emit()

    def _bind(self, layer: Any) -> None:
        told = getattr(layer, "metadata", {}).get("volseg", {})
        actions = {name: _acting(self, name) for name in self.actions}
        if "prompts" in told:
            keys.bind(layer, keys.PROMPTS, actions)
        elif "labels" in told:
            keys.bind(layer, keys.LABELS, actions)
            if told["labels"] == self.name and layer is not self._label_layer:
                self._label_layer = layer
                layer.events.selected_label.connect(_Kept(self, self._picked))
        elif "channel" in told:
            keys.bind(layer, keys.IMAGES, actions)

    def _picked(self, event: Any) -> None:
        """Prompt the object that was chosen for the brush: there is one current object."""
        chosen = int(event.source.selected_label)
        if self.prompting is not None and chosen > 0:
            self._chosen_object = chosen
            self.prompting.select_object(chosen)

    def _session(self) -> Session:
        if self.session is None:
            raise InputError("no volume is open: open one first")
        return self.session

    def _prompts(self) -> Prompting:
        return self._busy()[0]

    def _runs(self) -> Running:
        return self._busy()[1]

    def _busy(self) -> tuple[Prompting, Running, PromptLayers, SliceModel]:
        found = (self.prompting, self.running, self.layers, self.model)
        if None in found:
            raise InputError("choose a label image to prompt in first, or make one")
        return found  # type: ignore[return-value]


class _Kept:
    """A callback that keeps its desk alive, since napari holds methods weakly, and by which the desk is found."""

    def __init__(self, desk: Desk, function: Callable[[Any], None]) -> None:
        self.desk, self._function = desk, function

    def __call__(self, event: Any) -> None:
        self._function(event)


def desk_of(viewer: Any) -> Desk:
    """The desk of a viewer; made when first asked for."""
    viewer = getattr(viewer, "__wrapped__", viewer)
    for callback in viewer.layers.events.inserted.callbacks:
        if isinstance(callback, _Kept):
            return callback.desk
    return Desk(viewer)


def _acting(desk: Desk, command: str) -> Callable[[], None]:
    return lambda: desk.act(command)


def _is_image(layer: Any) -> bool:
    told = getattr(layer, "metadata", {}).get("volseg", {})
    return "channel" in told and "labels" not in told and "prompts" not in told
