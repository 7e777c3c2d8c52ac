"""`volseg doctor`: what is installed here and what works, for a person and for whoever helps them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

import typer

from volseg import __version__
from volseg.cli.options import AsJson
from volseg.errors import VolsegError

EXTRAS = {
    "napari": ("napari", "PySide6"),
    "flows": ("prefect", "fastapi"),
    "learn": ("lightgbm", "sklearn"),
    "formats": ("bioio", "h5py", "mrcfile"),
    "medical": ("highdicom",),
    "cloudfs": ("s3fs", "gcsfs", "adlfs"),
    "aws": ("boto3", "cryptography"),
}
"""Modules that each extra brings."""
LIBRARIES = ("numpy", "zarr", "dask", "torch", "segment-anything")
LOW_DISK_BYTES = 10 << 30
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Variables of which it is told only that they are set."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    topic, text
        What, and how it stands.
    way_out
        What to do, where something is the matter; "" where it is well.
    """

    topic: str
    text: str
    way_out: str = ""


def add_to(app: typer.Typer) -> None:
    """Add the commands of this room."""
    app.command("doctor")(_doctor)


def _doctor(
    url: Annotated[
        str | None, typer.Argument(metavar="[URL]", help="A volume, or where one is to be written.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell versions, devices, places and credentials (never secrets), and what to do where something lacks."""
    found = [*_system(), *_extras(), *_devices(), *_places(), *_credentials()]
    if url is not None:
        found.append(_store(url))
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found]))
        return
    for one in found:
        typer.echo(f"{'!' if one.way_out else ' '} {one.topic:<14} {one.text}")
        if one.way_out:
            typer.echo(f"  {'':<14} → {one.way_out}")
    lacking = sum(bool(one.way_out) for one in found)
    typer.echo("all is well" if not lacking else f"{lacking} to look at, marked with !")


def _system() -> Iterator[Finding]:
    yield Finding("volseg", __version__)
    yield Finding("Python", f"{platform.python_version()} on {platform.platform()}")
    versions = (f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    yield Finding("libraries", ", ".join(versions))


def _extras() -> Iterator[Finding]:
    there = {
        extra: all(importlib.util.find_spec(module) for module in modules)
        for extra, modules in EXTRAS.items()
    }
    yield Finding("extras", ", ".join(name for name, here in there.items() if here) or "none")
    missing = [name for name, here in there.items() if not here]
    if missing:
        how = f"where they are wanted: pip install 'volseg[{','.join(missing)}]'"
        yield Finding("not installed", f"{', '.join(missing)} ({how})")


def _devices() -> Iterator[Finding]:
    import psutil
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = psutil.virtual_memory()
    text = f"{cores} cores, {memory.total / 2**30:.1f} GiB, {memory.available / 2**30:.1f} free"
    yield Finding("machine", text)
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        yield Finding("GPU", ", ".join(names))
    elif shutil.which("nvidia-smi"):
        yield Finding(
            "GPU",
            "there is one, but this torch can't use it",
            "install torch for your CUDA version: https://pytorch.org/get-started",
        )
    else:
        yield Finding("GPU", "none; models run on the CPU")


def _places() -> Iterator[Finding]:
    import platformdirs

    cache = Path(platformdirs.user_cache_dir("volseg"))
    for topic, place in (("here", Path.cwd()), ("cache", cache)):
        there = next(one for one in (place, *place.parents) if one.exists())
        free = shutil.disk_usage(there).free
        text = f"{place}, {free / 2**30:.1f} GiB free"
        if not os.access(there, os.W_OK):
            yield Finding(topic, f"{text}, not writable", f"make {there} writable for this account")
        elif free < LOW_DISK_BYTES:
            yield Finding(topic, text, "make room: labels and embeddings need some")
        else:
            yield Finding(topic, text)


def _credentials() -> Iterator[Finding]:
    names = sorted(name for name in os.environ if name.startswith("AWS_"))
    shown = [name if name in SECRETS else f"{name}={_bare(os.environ[name])}" for name in names]
    yield Finding(
        "S3", ", ".join(shown) or "no AWS variables are set; profiles are used if asked for"
    )


def _bare(text: str) -> str:
    """A variable's value; of a URL, without what may be a password or a key."""
    parts = urlsplit(text)
    if not parts.netloc:
        return text
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _store(url: str) -> Finding:
    """How a place answers: read its metadata, or look whether something can be written there."""
    from volseg.images.image import open_volume

    try:
        volume = open_volume(url)
    except VolsegError as error:
        return Finding("volume", f"{url}: {error}", "correct the URL, or see the sentence above")
    labels = ", ".join(volume.labels) or "no labels"
    shape = " × ".join(map(str, volume.shape))
    return Finding("volume", f"{url}: {shape} (z, y, x) {volume.dtype}; {labels}")
