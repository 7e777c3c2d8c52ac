"""The table of objects as an Excel workbook: a sheet per layer, units in the heads; written row by row by openpyxl."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from volseg.errors import StorageError, UnsupportedFormatError
from volseg.exporting.selection import Selection
from volseg.exporting.table import columns_of, measure_all
from volseg.images.table_text import is_formula
from volseg.progress import Progress

MOST_ROWS = 2**20
"""Rows of a sheet, by the format."""
_MOST_LETTERS = 32_767
_UNITS = {"_um3": " (µm³)", "_um2": " (µm²)", "_um": " (µm)"}
_NOT_IN_NAMES = re.compile(r"[\[\]:*?/\\\x00-\x1f]")


def write_xlsx(
    selections: list[Selection],
    path: Path,
    provenance: dict[str, Any],
    progress: Progress,
    *,
    intensities: bool = True,
    surfaces: bool = True,
) -> None:
    """Write a sheet per layer with one row per object, and a sheet that tells the provenance.

    Texts stay texts, also where they begin like formulas.

    Raises
    ------
    UnsupportedFormatError
        If a layer has more objects than a sheet has rows.
    """
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    counts: list[int] = []
    names = _sheet_names([one.labels.name for one in selections])
    for selection, name in zip(selections, names, strict=True):
        columns = columns_of(selection, measure_all(selection, intensities, surfaces, progress))
        counts.append(len(columns["id"]))
        if counts[-1] >= MOST_ROWS:
            raise UnsupportedFormatError(
                f"{selection.labels.name}: {counts[-1]:,} objects, an Excel sheet has {MOST_ROWS:,} rows; "
                "export csv or parquet"
            )
        _fill(book.create_sheet(name), columns)
    _fill(book.create_sheet("provenance"), _told(provenance))
    book.save(path)
    _check(path, counts)


def head_of(column: str) -> str:
    """Return a column's head, with its unit: `centroid_z_um` becomes `centroid z (µm)`."""
    for end, unit in _UNITS.items():
        if column.endswith(end):
            return column.removesuffix(end).replace("_", " ") + unit
    in_voxels = column.startswith(("bbox_", "centroid_"))
    grey = column.startswith("intensity_")
    return column.replace("_", " ") + (
        " (voxels)" if in_voxels else " (grey values)" if grey else ""
    )


def _fill(sheet: Any, columns: dict[str, list[Any]]) -> None:
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font

    sheet.freeze_panes = "B2"
    heads = [WriteOnlyCell(sheet, head_of(name)) for name in columns]
    for head in heads:
        head.font = Font(bold=True)
    sheet.append(heads)
    for row in zip(*columns.values(), strict=True):
        sheet.append([_text(sheet, one) if isinstance(one, str) else one for one in row])


def _text(sheet: Any, text: str) -> Any:
    """A cell that shows a text as it is: openpyxl alone would make a formula of `=…`."""
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    clean = ILLEGAL_CHARACTERS_RE.sub(lambda found: f"\\x{ord(found.group()):02x}", text)
    cell = WriteOnlyCell(sheet, clean[:_MOST_LETTERS])
    cell.data_type = "s"
    cell.quotePrefix = is_formula(text)
    return cell


def _told(provenance: dict[str, Any]) -> dict[str, list[Any]]:
    values = [
        value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for value in provenance.values()
    ]
    return {"what": list(provenance), "value": values}


def _sheet_names(layers: Iterable[str]) -> list[str]:
    """Names as Excel takes them: up to 31 letters, without some signs, each once whatever its case."""
    names: list[str] = []
    taken = {"provenance", "history"}  # "History" is Excel's own
    for layer in layers:
        plain = _NOT_IN_NAMES.sub("_", layer).strip("'") or "layer"
        name, number = plain[:31], 2
        while name.lower() in taken:
            name = f"{plain[: 30 - len(str(number))]} {number}"
            number += 1
        taken.add(name.lower())
        names.append(name)
    return names


def _check(path: Path, counts: list[int]) -> None:
    """Reopen the workbook and count the rows."""
    import openpyxl

    with path.open("rb") as file:  # by its path, openpyxl wants one of its endings
        book = openpyxl.load_workbook(file, read_only=True)
        found = [sum(1 for _ in sheet.iter_rows()) - 1 for sheet in book.worksheets[:-1]]
        book.close()
    if found != counts:
        raise StorageError(f"{path}: {found} rows were written of {counts}; try again")
