"""Tables that spreadsheets open: no live formula, texts unchanged, units in the heads of workbooks."""

from __future__ import annotations

import csv
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volseg.exporting import export
from volseg.exporting.workbook import _sheet_names
from volseg.images.labels import Labels, open_labels
from volseg.images.table_text import escaped, unescaped
from volseg.importing.boxes import boxes_from_csv

CLASSES = {1: "=SUM(1,2)", 2: '+a, "b"\nc', 4: "'-x", 5: "Körnerzelle"}


@given(st.text(alphabet="'=+-@\t\r\n＝ ab", max_size=6))
def test_escaping_comes_back_and_leaves_no_formula(text: str) -> None:
    written = escaped(text)
    assert unescaped(written) == text
    assert not written.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝"))


def test_a_class_is_no_formula_in_csv(odd: Labels, tmp_path: Path) -> None:
    export(odd, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert not any(
            str(row[name]).startswith(("=", "+", "-", "@")) for name in ("class", "annotator")
        )
    assert {int(r["id"]): unescaped(r["class"]) for r in rows if r["class"]} == CLASSES


def test_a_class_comes_back_from_a_table_of_boxes(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("y0,x0,y1,x1,class\n0,0,4,4,'=1+1\n5,5,9,9,'a'\n")
    assert [box.class_ for box in boxes_from_csv(tmp_path / "b.csv")[""]] == ["=1+1", "'a'"]


def test_workbook(odd: Labels, tmp_path: Path) -> None:
    export([odd, open_labels(odd.volume(), "holes")], tmp_path / "t.xlsx")
    book = openpyxl.load_workbook(tmp_path / "t.xlsx")
    assert book.sheetnames == ["cells", "holes", "provenance"]
    heads, *rows = book["cells"].iter_rows()
    names = [cell.value for cell in heads]
    assert {"id", "voxels", "volume (µm³)", "surface (µm²)", "centroid z (µm)"} <= set(names)
    assert {"bbox z0 (voxels)", "axis 1 (µm)", "intensity mean c1 (grey values)"} <= set(names)
    at = names.index("class")
    assert {row[0].value: row[at].value for row in rows if row[at].value} == CLASSES
    assert all(cell.data_type != "f" for row in rows for cell in row)
    volume = {row[0].value: row[names.index("volume (µm³)")].value for row in rows}
    assert volume[3] == pytest.approx(0.01)


def test_names_of_sheets() -> None:
    long = "a" * 40
    found = _sheet_names(["a/b", "A?B", long, long, "History", "'"])
    assert len({one.lower() for one in found}) == 6 and all(1 <= len(one) <= 31 for one in found)
    assert found[0] == "a_b" and found[1] == "A_B 2" and found[4] != "History"
