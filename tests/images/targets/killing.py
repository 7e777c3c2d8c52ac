"""A process that replaces something, and is killed before its n-th rename, put, copy or deletion."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import obstore

from tests.editing.children import take_environment
from volseg.exporting import export
from volseg.images.create import write_empty_volume
from volseg.images.image import open_volume
from volseg.images.labels import labels_made_aside
from volseg.images.targets.permission import Permission
from volseg.images.targets.replacement import volume_replacement
from volseg.storage import Store

SHAPE = (2, 8, 8)
WHOLE = ((0, 2), (0, 8), (0, 8))
PERMISSION = Permission(overwrite=True, overwrite_edits=True)
OLD, NEW = 7, 9
STEPS = [
    *((os, name) for name in ("rename", "replace", "link", "rmdir")),
    *((Store, name) for name in ("put", "put_new", "put_if", "delete", "delete_all")),
    *((obstore, name) for name in ("copy", "delete", "put")),
]


def write_volume(url: str, value: int) -> None:
    """Write a volume that is full of one value, or replace one."""
    with volume_replacement(url, PERMISSION) as place:
        volume = write_empty_volume(
            place, axes="zyx", shape=SHAPE, dtype="uint8", scale_um=(1, 1, 1), levels=1
        )
        volume.write(WHOLE, np.full(SHAPE, value, np.uint8))


def write_labels(url: str, value: int) -> None:
    """Write a label image that is full of one id, or replace one."""
    with labels_made_aside(open_volume(url), "cells", permission=PERMISSION) as labels:
        labels.write_objects(WHOLE, np.full(SHAPE, value, np.uint32), fresh=True)


def write_file(url: str, value: int) -> None:
    """Export a label image of one object to a file beside the volume, or replace the export."""
    labels = open_volume(f"{url}-{value}").labels["cells"]
    export(labels, url, "csv", overwrite=True, surfaces=False, intensities=False)


WRITERS = {"volume": write_volume, "labels": write_labels, "file": write_file}


def replace_until_killed(environment: dict[str, str], kind: str, url: str, step: int) -> None:
    """Replace, and die before a step."""
    take_environment(environment)
    left = [step]

    def die(_: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    _wrapped(die)
    WRITERS[kind](url, NEW)
    sys.exit(3)


def _wrapped(before: Callable[[str], None]) -> None:
    def wrap(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            before(name)
            return function(*arguments, **named)

        return step

    for owner, name in STEPS:
        setattr(owner, name, wrap(getattr(owner, name), name))
