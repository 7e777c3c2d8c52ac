"""Which weights of `nano` ship: one folder a version, described by its `weights.json`. Imports no torch.

A version never changes once it has shipped: plans, runs and caches name it by the SHA-256 of its weights. The folder
is what ``python -m volseg.training.export``, ``validate`` and ``card`` write: weights, records and model card.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from volseg.errors import ModelUnavailableError, UnknownModelError

PACKAGE = Path(__file__).parent
RECORD = "weights.json"
DENSE_RECORD = "dense_weights.json"
CARD = "MODEL_CARD.md"


@dataclass(frozen=True)
class WeightsRecord:
    """What `weights.json` says of the weights beside it.

    Attributes
    ----------
    folder : Path
        Where weights and record lie.
    file : str
        Name of the weights file.
    sha256 : str
        Its digest, lower-case hex.
    encoder : str
        Which image encoder they are for: a key of `volseg.models.nano.architecture.ENCODERS`.
    img_size : int
        Side of the square input in pixels.
    embedding : (int, int, int)
        Channels, height and width of an embedding.
    object_size : int
        Diameter in input pixels of the objects that the model segments best.
    """

    folder: Path
    file: str
    sha256: str
    encoder: str
    img_size: int
    embedding: tuple[int, int, int]
    object_size: int

    @property
    def path(self) -> Path:
        """Where the weights lie."""
        return self.folder / self.file


def read_record(folder: Path) -> WeightsRecord:
    """Read the record of a folder that `volseg.models.nano.save` wrote.

    Raises
    ------
    ModelUnavailableError
        There is none, or it is not complete.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return WeightsRecord(
            folder=folder,
            file=record["file"],
            sha256=record["sha256"],
            encoder=record["encoder"],
            img_size=record["img_size"],
            embedding=tuple(record["embedding"]),
            object_size=record["object_size"],
        )
    except FileNotFoundError as error:
        raise ModelUnavailableError(
            f"nano's weights: {path} is missing; install the package again, "
            "or train with 'python -m volseg.training.nano'"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelUnavailableError(f"{path} is no record of nano's weights: {error!r}") from error


def shipped_versions(package: Path | None = None) -> tuple[int, ...]:
    """List the versions that ship, ascending: the folders `v1`, `v2`, … with a record."""
    records = (package or PACKAGE).glob(f"v*/{RECORD}")
    found = (re.fullmatch(r"v([1-9]\d*)", path.parent.name) for path in records)
    return tuple(sorted(int(match[1]) for match in found if match))


def newest_version(package: Path | None = None) -> int:
    """Return the version that `nano` without a number stands for.

    Raises
    ------
    ModelUnavailableError
        None ships.
    """
    versions = shipped_versions(package)
    if not versions:
        raise ModelUnavailableError(
            f"no weights of nano in {package or PACKAGE}; install the package again, "
            "or train with 'python -m volseg.training.nano'"
        )
    return versions[-1]


def version_folder(version: int | None = None, package: Path | None = None) -> Path:
    """Return the folder of a version; of the newest where none is given.

    Raises
    ------
    UnknownModelError
        There is no such version.
    ModelUnavailableError
        None ships.
    """
    newest = newest_version(package)
    if version is not None and version not in shipped_versions(package):
        known = ", ".join(f"nano@{number}" for number in shipped_versions(package))
        raise UnknownModelError(f"no version {version} of nano ships; there are {known}")
    return (package or PACKAGE) / f"v{newest if version is None else version}"


def parse_name(name: str) -> int | None:
    """Read the version off ``nano@3``; None for ``nano``.

    Raises
    ------
    UnknownModelError
        It is neither.
    """
    match = re.fullmatch(r"nano(?:@([1-9]\d{0,5}))?", name)
    if match is None:
        raise UnknownModelError(f"{name!r} names no version of nano; write nano, or nano@1")
    return int(match[1]) if match[1] else None


def version_of(sha256: str, package: Path | None = None) -> int | None:
    """Find the version whose weights have this digest; None where none has."""
    for version in shipped_versions(package):
        if read_record(version_folder(version, package)).sha256 == sha256:
            return version
    return None
