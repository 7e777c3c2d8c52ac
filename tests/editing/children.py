"""What runs in processes of its own: an editor that is killed at a step, and writers at random."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.queues import Queue

import numpy as np

import volseg
from volseg.editing import Editor
from volseg.errors import ConflictError
from volseg.images.labels import Labels


def processes() -> ForkServerContext:
    """Return a context whose processes start quickly, from a server that has imported what they need."""
    context = ForkServerContext()
    context.set_forkserver_preload(["tests.editing.children", "volseg.editing.editor"])
    return context


def take_environment(environment: dict[str, str]) -> None:
    """Take the parent's variables: the server that forks has those of when it started."""
    os.environ.clear()
    os.environ.update(environment)


def labels_of(url: str, name: str = "cells") -> Labels:
    """Open the label image that a test made."""
    return volseg.open(f"{url}/image.zarr").labels[name]


# --- killed at a step


def first_edits(editor: Editor) -> None:
    """What flush confirms before the step that kills."""
    with editor.stroke():
        editor[1, 3:50, 3:9] = 7
        editor[2, 20:40, 20:40] = 8


def later_edits(editor: Editor) -> None:
    """What is under way when the process is killed: a stroke over several chunks, and a large operation."""
    with editor.stroke():
        editor[1, 30:60, 5:70] = 5
        editor[2:4, 25:35, 10:80] = 6
    editor[4] = np.random.default_rng(0).integers(1, 2**31, editor.shape[1:])


def die_at(step: str, occurrence: int) -> Callable[[str], None]:
    """Return a step hook that kills the process at one step."""
    left = occurrence

    def hook(name: str) -> None:
        nonlocal left
        if name == step:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


def edit_until_killed(
    environment: dict[str, str], url: str, step: str, occurrence: int, inline_bytes: int
) -> None:
    """Flush some edits, then die in the middle of storing others; without a kill exit status 3."""
    take_environment(environment)
    from volseg.editing import flush

    flush.INLINE_BYTES = inline_bytes  # the large operation goes into parts
    armed: list[Callable[[str], None]] = []
    editor = labels_of(url).edit(
        "ann", flush_after=None, step=lambda name: armed[0](name) if armed else None
    )
    first_edits(editor)
    editor.flush()
    armed.append(die_at(step, occurrence))
    later_edits(editor)
    editor.close()
    os._exit(3)


# --- many writers


def write_at_random(
    environment: dict[str, str], url: str, name: str, seed: int, operations: int, results: Queue
) -> None:
    """Edit overlapping places at random; report each operation that was confirmed, refused or dropped.

    Parameters
    ----------
    environment
        The parent's variables.
    url
        Where the image is.
    name
        The annotator.
    seed
        Of the random operations.
    operations
        How many.
    results
        A queue; gets (name, confirmed, refused): names of operations.
    """
    take_environment(environment)
    rng = random.Random(seed)
    labels = labels_of(url)
    confirmed: list[str] = []
    refused: list[str] = []
    editor = labels.edit(name, flush_after=None)
    done = 0
    while done < operations:
        for _ in range(rng.randint(1, 3)):
            _operate(editor, rng)
            done += 1
        names = [o.uuid for o in editor.pending.operations]
        try:
            editor.flush()
            confirmed += names
        except ConflictError:
            choice = rng.choice(["mine", "theirs", "discard"])
            if choice == "mine":
                _flush_on_top(editor)
                confirmed += names
            else:
                refused += _give_way(editor, choice, names)
                kept = [n for n in names if n not in refused]
                confirmed += kept
        if rng.random() < 0.06:
            editor.close()
            editor = labels.edit(name, flush_after=None)
    editor.close()
    results.put((name, confirmed, refused))


def _flush_on_top(editor: Editor) -> None:
    while True:
        editor.resolve("mine")
        try:
            editor.flush()
            return
        except ConflictError:
            continue


def _give_way(editor: Editor, choice: str, names: list[str]) -> list[str]:
    while True:
        if choice == "discard":
            editor.discard()
        else:
            editor.resolve("theirs")
        left = [o.uuid for o in editor.pending.operations]
        try:
            editor.flush()
            return [n for n in names if n not in left]
        except ConflictError:
            continue


def _operate(editor: Editor, rng: random.Random) -> None:
    nz, ny, nx = editor.shape
    kind = rng.random()
    z, y, x = rng.randrange(nz), rng.randrange(ny), rng.randrange(nx)
    label = rng.randint(0, 9)
    if kind < 0.75:
        height, width = rng.randint(1, 12), rng.randint(1, 12)
        editor[z, y : y + height, x : x + width] = label
    elif kind < 0.85:
        editor[z : z + 3, y : y + 3, x : x + 20] = label
    else:
        try:
            if rng.random() < 0.7:
                editor.undo()
            else:
                editor.redo()
        except ConflictError:
            editor[z, y, x] = label
