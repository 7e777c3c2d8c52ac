"""Reading NGFF metadata: units, transforms, and clear refusals of what is no image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from volseg.errors import NotOmeZarrError, NotThereError
from volseg.images.create import array_documents
from volseg.images.image import open_volume
from volseg.images.units import length_unit, time_unit
from volseg.storage import Store

SPACE = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]


def write_image(
    folder: Path, axes: Any = SPACE, transforms: Any = None, version: str = "0.4", **entry: Any
) -> Path:
    """Write a small image by hand, in either version, with whatever metadata is asked for."""
    n = len(axes) if isinstance(axes, list) else 3
    store = Store(folder)
    multiscale = {
        "axes": axes,
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": transforms or [{"type": "scale", "scale": [1] * n}],
            }
        ],
        **entry,
    }
    if version == "0.4":
        store.put(".zgroup", b'{"zarr_format": 2}')
        store.put(
            ".zattrs", json.dumps({"multiscales": [{"version": "0.4"} | multiscale]}).encode()
        )
    else:
        attributes = {"ome": {"version": version, "multiscales": [multiscale]}}
        group = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        store.put("zarr.json", json.dumps(group).encode())
    names = [str(i) for i in range(n)]
    documents = array_documents(
        "0.4" if version == "0.4" else "0.5", [4] * n, [2] * n, "u1", axes=names
    )
    for key, document in documents.items():
        store.put(f"0/{key}", document)
    return folder


@pytest.mark.parametrize(
    ("unit", "micrometres"),
    [("micrometer", 1.0), ("nanometer", 1e-3), ("millimeter", 1e3), ("meter", 1e6), ("angstrom", 1e-4),
     ("picometer", 1e-6), ("inch", 25400.0), ("µm", 1.0), ("nm", 1e-3), ("microns", 1.0)],
)  # fmt: skip
def test_lengths_become_micrometres(tmp_path: Path, unit: str, micrometres: float) -> None:
    axes = [axis | {"unit": unit} for axis in SPACE]
    transforms = [
        {"type": "scale", "scale": [40.0, 4.0, 8.0]},
        {"type": "translation", "translation": [0, 2.0, 1.0]},
    ]
    volume = open_volume(write_image(tmp_path / "v.zarr", axes, transforms))
    assert volume.scale == pytest.approx(tuple(s * micrometres for s in (40, 4, 8)))
    expected = tuple(s * micrometres for s in (0, 2, 1))
    assert volume.levels[0].translation == pytest.approx(expected)
    assert volume.notes == ()


@pytest.mark.parametrize("unit", [None, "pixel"])
def test_missing_and_unknown_units_are_stated(tmp_path: Path, unit: str | None) -> None:
    axes = [{"name": n, "type": "space"} | ({"unit": unit} if unit else {}) for n in "zyx"]
    volume = open_volume(write_image(tmp_path / "v.zarr", axes))
    assert volume.scale == (1, 1, 1)
    assert volume.axis_units == (None, None, None)
    assert len(volume.notes) == 3
    assert "taken as micrometres" in volume.notes[0]


def test_units_of_the_specification() -> None:
    assert length_unit("yottameter") == ("yottameter", 1e30)
    assert length_unit("parsec") is not None
    assert length_unit("second") is None
    assert length_unit(None) is None
    assert time_unit("seconds") == "second"
    assert time_unit("hour") == "hour"
    assert time_unit("micrometer") is None


def test_transforms_of_dataset_and_multiscale_are_joined(tmp_path: Path) -> None:
    own = [
        {"type": "scale", "scale": [2, 2, 2]},
        {"type": "translation", "translation": [1, 1, 1]},
    ]
    common = [
        {"type": "scale", "scale": [10, 0.5, 1]},
        {"type": "translation", "translation": [5, 0, 0]},
    ]
    path = write_image(tmp_path / "v.zarr", transforms=own, coordinateTransformations=common)
    level = open_volume(path).levels[0]
    assert level.scale == (20, 1, 2)
    assert level.translation == (15, 0.5, 1)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("kinds", ["yx", "cyx", "tyx", "zyx", "tzyx", "czyx", "tczyx"])
def test_every_set_of_axes(tmp_path: Path, kinds: str, version: str) -> None:
    types = {"t": "time", "c": "channel"}
    axes = [{"name": k, "type": types.get(k, "space")} for k in kinds]
    volume = open_volume(write_image(tmp_path / "v.zarr", axes, version=version))
    assert volume.axes == tuple(kinds)
    assert volume.shape == ((4 if "z" in kinds else 1), 4, 4)
    assert (volume.n_times, volume.n_channels) == (
        4 if "t" in kinds else 1,
        4 if "c" in kinds else 1,
    )
    region = ((0, 1), (1, 3), (0, 4))
    assert volume.read(region, time=volume.n_times - 1).shape == (1, 2, 4)


def test_axes_with_names_of_their_own(tmp_path: Path) -> None:
    axes = [
        {"name": name, "type": "space", "unit": "nanometer"} for name in ("depth", "row", "col")
    ]
    assert open_volume(write_image(tmp_path / "v.zarr", axes)).axes == ("z", "y", "x")


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([{"name": n, "type": "space"} for n in ("x", "y", "depth")], "can't be told"),
        ([{"name": n, "type": "space"} for n in "azyx"], "expected two or three of space"),
        ([{"name": "y", "type": "space"}], "expected two or three of space"),
        ([{"name": "f", "type": "frequency"}, *SPACE], r"f \(frequency\)"),
        ([{"name": "t", "type": "time"}, {"name": "u", "type": "time"}, *SPACE], "at most one of time"),
        (["z", 3, "x"], r"'axes' of NGFF 0\.4"),
        (None, r"'axes' of NGFF 0\.4"),
    ],
)  # fmt: skip
def test_axes_that_are_refused(tmp_path: Path, axes: Any, message: str) -> None:
    with pytest.raises(NotOmeZarrError, match=message):
        open_volume(write_image(tmp_path / "v.zarr", axes))


@pytest.mark.parametrize(
    "transforms",
    [
        [{"type": "scale", "scale": [1, 1]}],
        [{"type": "scale", "scale": [1, 1, 0]}],
        [{"type": "scale", "scale": [1, 1, "x"]}],
        [{"type": "affine", "affine": []}],
        ["scale"],
    ],
)
def test_transforms_that_are_refused(tmp_path: Path, transforms: Any) -> None:
    with pytest.raises(NotOmeZarrError, match="scale"):
        open_volume(write_image(tmp_path / "v.zarr", transforms=transforms))


@pytest.mark.parametrize("path", ["../0", "/../0", "/", "", "a/../0", None])
def test_dataset_paths_stay_inside(tmp_path: Path, path: str | None) -> None:
    folder = write_image(tmp_path / "v.zarr")
    document = json.loads((folder / ".zattrs").read_text())
    document["multiscales"][0]["datasets"][0]["path"] = path
    (folder / ".zattrs").write_text(json.dumps(document))
    with pytest.raises(NotOmeZarrError, match="not a relative path"):
        open_volume(folder)


@pytest.mark.parametrize("version", ["0.0", "0.5", "0.6"])
def test_other_versions_are_refused(tmp_path: Path, version: str) -> None:
    folder = write_image(tmp_path / "v.zarr", version="0.4")
    document = json.loads((folder / ".zattrs").read_text())
    document["multiscales"][0]["version"] = version
    (folder / ".zattrs").write_text(json.dumps(document))
    with pytest.raises(NotOmeZarrError, match=r"0\.1 to 0\.4 \(Zarr 2\) and 0\.5"):
        open_volume(folder)


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"multiscales": 3}', b'{"multiscales": [3]}']
)
def test_damaged_metadata(tmp_path: Path, damage: bytes) -> None:
    folder = write_image(tmp_path / "v.zarr")
    (folder / ".zattrs").write_bytes(damage)
    with pytest.raises(NotOmeZarrError):
        open_volume(folder)


def test_damaged_and_missing_arrays(tmp_path: Path) -> None:
    folder = write_image(tmp_path / "v.zarr")
    (folder / "0" / ".zarray").write_text('{"zarr_format": 2}')
    with pytest.raises(NotOmeZarrError, match="can't be read"):
        open_volume(folder)
    (folder / "0" / ".zarray").unlink()
    with pytest.raises(NotThereError, match="metadata names it"):
        open_volume(folder)


def test_places_that_are_no_image(work_url: str) -> None:
    store = Store(work_url)
    with pytest.raises(NotThereError):
        open_volume(f"{work_url}/nothing.zarr")
    store.put("folder/a.zarr/.zgroup", b'{"zarr_format": 2}')
    with pytest.raises(NotOmeZarrError, match=r"inside are a\.zarr"):
        open_volume(f"{work_url}/folder")
    store.put("text/readme", b"hello")
    with pytest.raises(NotOmeZarrError, match="volseg import"):
        open_volume(f"{work_url}/text")
    with pytest.raises(NotOmeZarrError, match="no 'multiscales'"):
        open_volume(f"{work_url}/folder/a.zarr")


def test_arrays_are_told_from_images(tmp_path: Path) -> None:
    v2 = write_image(tmp_path / "v2.zarr")
    v3 = write_image(tmp_path / "v3.zarr", version="0.5")
    for path in (v2 / "0", v3 / "0"):
        with pytest.raises(NotOmeZarrError, match="is a Zarr array"):
            open_volume(path)


def test_collections_list_the_images_inside(tmp_path: Path) -> None:
    for root in ("b2r", "b2r-ome"):
        Store(tmp_path / root).put(".zgroup", b'{"zarr_format": 2}')
        Store(tmp_path / root).put(".zattrs", b'{"bioformats2raw.layout": 3}')
        for i in (0, 1, 10):
            write_image(tmp_path / root / str(i))
    with pytest.raises(NotOmeZarrError, match=r"(?s)b2r/0.*b2r/1.*b2r/10"):
        open_volume(tmp_path / "b2r")
    Store(tmp_path / "b2r-ome").put("OME/.zattrs", b'{"series": ["1", "0"]}')
    Store(tmp_path / "b2r-ome").put("OME/.zgroup", b'{"zarr_format": 2}')
    with pytest.raises(NotOmeZarrError, match=r"(?s)b2r-ome/1\n.*b2r-ome/0") as caught:
        open_volume(tmp_path / "b2r-ome")
    assert "b2r-ome/10" not in str(caught.value)


def test_plates_and_wells_list_the_images_inside(tmp_path: Path) -> None:
    plate = Store(tmp_path / "plate")
    plate.put(".zgroup", b'{"zarr_format": 2}')
    plate.put(".zattrs", b'{"plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}]}}')
    plate.put("A/1/.zgroup", b'{"zarr_format": 2}')
    plate.put("A/1/.zattrs", b'{"well": {"images": [{"path": "0"}, {"path": "1"}]}}')
    with pytest.raises(NotOmeZarrError, match=r"(?s)plate/A/1/0.*plate/A/1/1.*plate/B/2"):
        open_volume(tmp_path / "plate")
    with pytest.raises(NotOmeZarrError, match=r"(?s)A/1/0.*A/1/1"):
        open_volume(tmp_path / "plate" / "A" / "1")
