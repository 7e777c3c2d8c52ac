"""The table of features beside a label image: Parquet, sorted by time and id, with the definition in its metadata."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volseg.errors import UnsupportedFormatError
from volseg.measurement.definition import FeatureDefinition, unit_of

if TYPE_CHECKING:
    import pyarrow

FOLDER = "volseg/features"
ROWS = 65536
"""Rows of a row group: what is read at once."""
_FORMAT = "volseg-features"


@dataclass(frozen=True)
class FeatureRows:
    """Some rows of the table.

    Attributes
    ----------
    times, ids : ndarray of int64 (n,)
    centroids : ndarray of float64 (n, 3)
        z, y, x in micrometres, from the centre of the first voxel.
    voxels : ndarray of int64 (n,)
    values : ndarray of float32 (n, features)
        In the order of the definition's names; NaN where not defined.
    """

    times: NDArray[np.int64]
    ids: NDArray[np.int64]
    centroids: NDArray[np.float64]
    voxels: NDArray[np.int64]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def joined(cls, parts: list[FeatureRows]) -> FeatureRows:
        """Put parts (at least one) below each other."""
        names = ("times", "ids", "centroids", "voxels", "values")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def chosen(self, which: NDArray[np.generic]) -> FeatureRows:
        """Return the rows of a mask, slice or list of places."""
        return FeatureRows(
            self.times[which], self.ids[which], self.centroids[which], self.voxels[which],
            self.values[which],
        )  # fmt: skip


def table_key(definition: FeatureDefinition) -> str:
    """Return where a table lies, in the label image's store."""
    return f"{FOLDER}/{definition.hash}.parquet"


def write_table(parts: Iterator[FeatureRows], definition: FeatureDefinition, state: str) -> bytes:
    """Serialise rows, row group by row group, whatever pieces they come in.

    Parameters
    ----------
    parts
        In order of time and id.
    definition
        Of the features.
    state
        Digest of the labels and image that were measured.
    """
    import pyarrow.parquet

    schema = _schema(definition, state)
    file = io.BytesIO()
    with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for rows in _regrouped(parts):
            writer.write_table(_as_table(rows, schema), row_group_size=ROWS)
    return file.getvalue()


class FeatureTable:
    """A stored table, read row group by row group.

    Parameters
    ----------
    data
        Bytes of the file.
    where
        What it is called in errors.
    """

    def __init__(self, data: bytes, where: str) -> None:
        import pyarrow
        import pyarrow.parquet

        try:
            self._file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
            told = json.loads(self._file.schema_arrow.metadata[_FORMAT.encode()])
            self.definition = FeatureDefinition.model_validate(told["definition"])
            self.state: str = told["state"]
        except (pyarrow.ArrowException, KeyError, TypeError, ValueError) as error:
            raise UnsupportedFormatError(
                f"{where} is no table of features ({error}); measure again with `volseg objects measure`"
            ) from None

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def parts(self) -> Iterator[FeatureRows]:
        """Yield the rows, `ROWS` at a time."""
        for i in range(self._file.num_row_groups):
            yield _as_rows(self._file.read_row_group(i), self.definition)

    def rows(self) -> FeatureRows:
        """Return all rows at once."""
        return _as_rows(self._file.read(), self.definition)


def _schema(definition: FeatureDefinition, state: str) -> pyarrow.Schema:
    import pyarrow

    fields = [("time", pyarrow.int64()), ("id", pyarrow.int64())]
    fields += [(f"centroid_{axis}", pyarrow.float64()) for axis in "zyx"]
    fields += [("voxels", pyarrow.int64())]
    columns = [pyarrow.field(name, kind) for name, kind in fields]
    for name in definition.names:
        unit = unit_of(name, definition.flat)
        columns.append(
            pyarrow.field(name, pyarrow.float32(), metadata={"unit": unit} if unit else None)
        )
    told = {"version": 1, "hash": definition.hash, "state": state}
    told["definition"] = definition.model_dump(mode="json")
    return pyarrow.schema(columns, {_FORMAT: json.dumps(told, sort_keys=True)})


def _as_table(rows: FeatureRows, schema: pyarrow.Schema) -> pyarrow.Table:
    import pyarrow

    columns = [rows.times, rows.ids, *rows.centroids.T, rows.voxels, *rows.values.T]
    arrays = [pyarrow.array(np.ascontiguousarray(column)) for column in columns]
    return pyarrow.Table.from_arrays(arrays, schema=schema)


def _as_rows(table: pyarrow.Table, definition: FeatureDefinition) -> FeatureRows:
    columns = [table.column(i).to_numpy() for i in range(6)]
    values = np.empty((len(table), len(definition.names)), np.float32)
    for at in range(values.shape[1]):
        values[:, at] = table.column(6 + at).to_numpy()
    return FeatureRows(columns[0], columns[1], np.stack(columns[2:5], axis=1), columns[5], values)


def _regrouped(parts: Iterator[FeatureRows]) -> Iterator[FeatureRows]:
    """Cut rows anew, `ROWS` each, so that the file does not tell how they came."""
    waiting: list[FeatureRows] = []
    for part in parts:
        waiting.append(part)
        while sum(map(len, waiting)) >= ROWS:
            whole = FeatureRows.joined(waiting)
            yield whole.chosen(slice(0, ROWS))  # type: ignore[arg-type]
            waiting = [whole.chosen(slice(ROWS, None))]  # type: ignore[arg-type]
    rest = [part for part in waiting if len(part)]
    if rest:
        yield FeatureRows.joined(rest)
