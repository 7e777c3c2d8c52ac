"""Exporting: label images to the formats that others read, streaming, with provenance."""

from __future__ import annotations

from volseg.exporting.exports import export
from volseg.exporting.formats import formats
from volseg.exporting.output import ExportResult

__all__ = ["ExportResult", "export", "formats"]
