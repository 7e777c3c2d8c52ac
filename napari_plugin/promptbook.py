"""The accepted prompts of one label image: by object and place in memory, one document per object beside the labels."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_plugin.marks import Marks
from napari_plugin.promptstore import as_set, forget_object, load_objects, save_object
from volseg.editing.removal import last_of
from volseg.errors import InputError, PromptError
from volseg.prompts import Prompt, PromptedObject, PromptSet
from volseg.propagation import SlicePrompt
from volseg.propagation.window import MaskWindow

if TYPE_CHECKING:
    from napari_plugin.editing import LabelEditing
    from volseg.editing import Editor
    from volseg.editing.record import Operation

Place = tuple[int, int]
"""(time, slice)."""


class PromptBook:
    """Accepted prompts of one label image.

    Parameters
    ----------
    editing
        The label image open for editing; its thread reads and writes.

    Attributes
    ----------
    changed
        Other prompts are accepted now.
    failed
        Signal(exception, what was being done).
    """

    changed = Signal()
    failed = Signal(object, str)

    def __init__(self, editing: LabelEditing) -> None:
        self.editing = editing
        self.shape_yx = (editing.labels.shape[1], editing.labels.shape[2])
        self._lock = threading.RLock()
        self._marks: dict[int, dict[Place, Marks]] = {}  # as they are stored
        self._removed: dict[int, Mapping[int, int | None]] = {}  # by time
        self.editing.decided.connect(self._decided)
        self.ready: Future[None] = self._submit(self._load, "reading the stored prompts")

    @property
    def objects(self) -> list[int]:
        """Objects with accepted prompts."""
        with self._lock:
            return sorted(self._standing())

    def __contains__(self, object_id: int | None) -> bool:
        with self._lock:
            return object_id in self._standing()

    def knows(self, object_id: int) -> bool:
        """Tell whether prompts are stored under an id, of an object that was deleted too."""
        with self._lock:
            return object_id in self._marks

    def _standing(self) -> dict[int, dict[Place, Marks]]:
        """Return the prompts as people's decisions left them (under the lock): none of objects that they deleted,
        those of merged ones as the whole's."""
        found: dict[int, dict[Place, Marks]] = {}
        for one, of in self._marks.items():
            for place, marks in of.items():
                into = last_of(self._removed.get(place[0], {}), one)
                if into is not None and (into == one or place not in found.get(into, {})):
                    found.setdefault(into, {})[place] = marks
        return found

    # --- what people decided since

    def removed(self, time: int = 0) -> Mapping[int, int | None]:
        """Objects that people took away, to what each is part of since; as last looked at."""
        return self._removed.get(time, {})

    def look_for_removed(self, editor: Editor, more: Iterable[int] = (), time: int = 0) -> None:
        """Ask the journal which prompted objects (and more) were deleted or merged; on the label image's thread."""
        with self._lock:
            asked = {one for one, of in self._marks.items() if any(t == time for t, _ in of)}
        editor.time = time
        removed = editor.removed({*asked, *more})
        with self._lock:
            changed, self._removed[time] = removed != self._removed.get(time), removed
        if changed:
            self.changed.emit()

    def _decided(self, operation: Operation | None) -> None:
        """Follow a merge, a deletion, or what was taken back or done again; on the label image's thread."""
        editor = self.editing.editor
        prompt = None if operation is None else operation.details.get("prompt")
        if operation is not None and operation.of == "prompt" and prompt is not None:
            stored = prompt["new"] if operation.done else prompt["old"]
            self._put_back(
                editor, int(operation.details["ids"][0]), prompt["t"], prompt["z"], stored
            )
        with self._lock:
            times = sorted({t for of in self._marks.values() for t, _ in of})
        for time in times:
            self.look_for_removed(editor, self.removed(time), time)

    def _put_back(
        self, editor: Editor, object_id: int, time: int, z: int, stored: dict[str, Any] | None
    ) -> None:
        """Have the prompt on a slice be what it was before an operation that was taken back (or after it)."""
        with self._lock:
            of = self._marks.setdefault(object_id, {})
            if stored is None:
                of.pop((time, z), None)
            else:
                of[time, z] = Marks.of(Prompt.model_validate(stored))
            if not of:
                del self._marks[object_id]
            prompted = self._prompted(object_id) if of else None
        if prompted is None:
            forget_object(editor.labels, object_id)
        else:
            save_object(editor.labels, prompted)
        self.changed.emit()

    def slices_of(self, object_id: int, time: int = 0) -> list[int]:
        """Slices on which an object has accepted prompts."""
        with self._lock:
            return sorted(z for t, z in self._standing().get(object_id, {}) if t == time)

    def marks(self, object_id: int | None, place: Place) -> Marks:
        """What is accepted of an object at a place."""
        with self._lock:
            return self._standing().get(object_id or 0, {}).get(place, Marks())

    def stored_marks(self, object_id: int, place: Place) -> Marks | None:
        """What is stored of an object at a place, None where nothing is."""
        with self._lock:
            return self._marks.get(object_id, {}).get(place)

    def context(self, time: int) -> dict[int, dict[int, SlicePrompt]]:
        """The prompts of all objects at a time, as the model takes them: the others' points are not on this one."""
        with self._lock:
            return {
                one: {z: marks.slice_prompt() for (t, z), marks in of.items() if t == time}
                for one, of in self._standing().items()
            }

    def keep(self, object_id: int, place: Place, marks: Marks) -> Future[None]:
        """Accept marks, and store them."""
        with self._lock:
            if object_id in self._removed.get(
                place[0], {}
            ):  # begun anew: its old prompts stay away
                self._marks.pop(object_id, None)
                self._removed = {
                    t: {i: into for i, into in removed.items() if i != object_id}
                    for t, removed in self._removed.items()
                }
            self._marks.setdefault(object_id, {})[place] = marks
            prompted = self._prompted(object_id)
        self.changed.emit()
        return self._submit(
            lambda editor: save_object(editor.labels, prompted), "storing the prompts"
        )

    def forget(self, object_id: int) -> Future[None]:
        """Drop the prompts of an object; its voxels stay."""
        with self._lock:
            self._marks.pop(object_id, None)
        self.changed.emit()
        return self._submit(
            lambda editor: forget_object(editor.labels, object_id), "removing the prompts"
        )

    def prompt_set(self, ids: Iterable[int] | None = None) -> PromptSet:
        """The accepted prompts as a prompts file, of all objects or of some.

        Raises
        ------
        InputError
            None is accepted.
        """
        with self._lock:
            standing = self._standing()
            chosen = sorted(standing) if ids is None else [i for i in ids if i in standing]
            objects = [self._as_prompted(one, standing[one]) for one in chosen]
        if not objects:
            raise InputError("no prompts are accepted yet: mark an object and accept its mask")
        return as_set(self.editing.labels, objects)

    def prompted(self, time: int = 0) -> tuple[PromptedObject, ...]:
        """The objects that have prompts at a time."""
        with self._lock:
            found = sorted(self._standing().items())
            return tuple(
                self._as_prompted(one, of) for one, of in found if any(t == time for t, _ in of)
            )

    def with_masks(
        self, object_id: int, masks: Mapping[int, MaskWindow], time: int = 0
    ) -> PromptedObject | None:
        """An object's prompts at a time, what is painted on a slice standing for what was clicked there.

        Parameters
        ----------
        object_id
            The object.
        masks
            What is painted, by slice.
        time
            Time point.

        Returns
        -------
        PromptedObject or None
            None where nothing says where it is.
        """
        with self._lock:
            kept = {
                z: marks
                for (t, z), marks in self._standing().get(object_id, {}).items()
                if t == time
            }
        kept |= {z: Marks(mask=mask) for z, mask in masks.items()}
        if not any(marks.positive for marks in kept.values()):
            return None
        prompts = tuple(kept[z].prompt(z, time, self.shape_yx) for z in sorted(kept))
        return PromptedObject(id=object_id, prompts=prompts)

    def as_document(self, objects: Iterable[PromptedObject]) -> dict[str, Any]:
        """Objects of this label image as a prompts document, JSON values."""
        document: dict[str, Any] = json.loads(as_set(self.editing.labels, objects).to_json())
        return document

    def add(self, prompts: PromptSet, layer: str | None = None) -> list[int]:
        """Take the objects of a prompts file over, and store them; return their ids.

        Parameters
        ----------
        prompts
            Read with `volseg.load_prompts`.
        layer
            Which of its layers; the one of the label image's name, or an only one, by default.

        Raises
        ------
        PromptError
            A prompt lies outside of the volume, or no layer fits.
        """
        labels = self.editing.labels
        names = [one.name for one in prompts.layers]
        wanted = layer or (names[0] if len(names) == 1 else labels.name)
        if wanted not in names:
            raise PromptError(
                f"the prompts have no layer {wanted!r}; they have {', '.join(names)}: name one"
            )
        prompts.check_inside(labels.shape, labels.n_times, labels.volume().n_channels)
        taken = [
            one.model_copy(update={"layer": None})
            for one in prompts.objects
            if prompts.layer_of(one).name == wanted
        ]
        with self._lock:
            for one in taken:
                self._marks[one.id] = marks_of(one)
        self.changed.emit()

        def save(editor: Any) -> None:
            for one in taken:
                save_object(editor.labels, one)

        self._submit(save, "storing the prompts")
        return [one.id for one in taken]

    def _load(self, editor: Any) -> None:
        stored = load_objects(editor.labels)
        with self._lock:
            for one in stored.values():
                self._marks.setdefault(one.id, marks_of(one))
            times = sorted({t for of in self._marks.values() for t, _ in of})
        for time in times:
            self.look_for_removed(editor, time=time)
        self.changed.emit()

    def _prompted(self, object_id: int) -> PromptedObject:
        """Return an object's prompts as they are stored."""
        return self._as_prompted(object_id, self._marks[object_id])

    def _as_prompted(self, object_id: int, of: Mapping[Place, Marks]) -> PromptedObject:
        places = sorted(of.items())
        prompts = tuple(marks.prompt(z, t, self.shape_yx) for (t, z), marks in places)
        return PromptedObject(id=object_id, prompts=prompts)

    def _submit(self, function: Callable[[Any], None], what: str) -> Future[None]:
        def told(done: Future[None]) -> None:
            error = None if done.cancelled() else done.exception()
            if error is not None:
                self.failed.emit(error, what)

        future = self.editing.submit(function, what)
        future.add_done_callback(told)
        return future


def marks_of(one: PromptedObject) -> dict[Place, Marks]:
    """A stored object's marks by place."""
    times = sorted({prompt.t for prompt in one.prompts})
    return {(t, z): Marks.of(prompt) for t in times for z, prompt in one.by_slice(t).items()}
