"""The demonstration's report: one HTML page that works offline, with pictures and numbers inside it."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ObjectFigures:
    """What the report tells of one object.

    Attributes
    ----------
    id, voxels
        Of the object in the written labels.
    dice, baseline
        3D Dice of volseg's mask, and of the baseline's, with the truth.
    confidence
        Per slice of the volume; None where the object has no mask.
    points
        The prompts: (z, y, x) in voxels.
    """

    id: int
    voxels: int
    dice: float
    baseline: float
    confidence: list[float | None]
    points: list[tuple[int, float, float]]


@dataclass(frozen=True)
class Correction:
    """One wrong object before and after a corrective click: PNG pictures and what was recomputed."""

    text: str
    before: bytes
    after: bytes


@dataclass(frozen=True)
class Report:
    """All that the page shows; arrays are (z, y, x), labels and truth share their ids."""

    what: str
    how: str
    figures: list[tuple[str, str]]
    voxel_size_um: tuple[float, float, float]
    image: NDArray[Any]
    labels: NDArray[Any]
    truth: NDArray[Any]
    objects: list[ObjectFigures]
    stages: list[tuple[str, float]]
    correction: Correction | None = None

    def write(self, path: Path) -> None:
        """Write the page; whole or not at all."""
        page = resources.files("volseg.demo").joinpath("report.html").read_text("utf-8")
        text = page.replace("$DATA", _inside_script(json.dumps(self._data())))
        temporary = path.with_suffix(".partial")
        temporary.write_text(text, "utf-8")
        temporary.replace(path)

    def _data(self) -> dict[str, Any]:
        low, high = np.percentile(self.image, (0.5, 99.8))
        grey = np.clip((self.image - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8)
        prompted = [point[0] for one in self.objects for point in one.points]
        return {
            "what": self.what,
            "how": self.how,
            "figures": self.figures,
            "shape": list(self.image.shape),
            "voxel_size_um": list(self.voxel_size_um),
            "raw": [_picture(plane, "JPEG") for plane in grey],
            "labels": [_picture(_id_colours(plane), "PNG") for plane in self.labels],
            "truth": [_picture(_id_colours(plane), "PNG") for plane in self.truth],
            "objects": [asdict(one) for one in self.objects],
            "stages": self.stages,
            "first_slice": int(np.median(prompted)) if prompted else 0,
            "correction": self.correction
            and {
                "text": self.correction.text,
                "before": _data_uri(self.correction.before, "png"),
                "after": _data_uri(self.correction.after, "png"),
            },
        }


def _inside_script(text: str) -> str:
    """JSON that may stand in a script element: no text in it can end the element."""
    return text.replace("<", "\\u003c")


def _id_colours(plane: NDArray[Any]) -> NDArray[np.uint8]:
    """Ids as red + 256 green + 65536 blue, (y, x, 3); the page turns them back into ids."""
    ids = plane.astype(np.uint32)
    return np.stack([(ids >> shift) & 255 for shift in (0, 8, 16)], -1).astype(np.uint8)


def _picture(plane: NDArray[np.uint8], kind: str) -> str:
    from PIL import Image

    file = io.BytesIO()
    options = {"quality": 82} if kind == "JPEG" else {"optimize": True}
    Image.fromarray(plane).save(file, kind, **options)
    return _data_uri(file.getvalue(), kind.lower())


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
