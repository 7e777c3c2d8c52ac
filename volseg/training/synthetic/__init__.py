"""Procedural images and volumes with known truth, by kind."""

from __future__ import annotations

from volseg.training.synthetic.blobs import scatter_blobs, scatter_spots
from volseg.training.synthetic.cells import membranes, nuclei, tissue
from volseg.training.synthetic.colours import channels, stained_tissue
from volseg.training.synthetic.fields import packed_cells, smooth_noise
from volseg.training.synthetic.nested import fibres, micrographs, stained_cells
from volseg.training.synthetic.organs import organs
from volseg.training.synthetic.phase import phase_cells, phase_rods
from volseg.training.synthetic.tubes import tubes
from volseg.training.synthetic.walls import walls

__all__ = [
    "channels",
    "fibres",
    "membranes",
    "micrographs",
    "nuclei",
    "organs",
    "packed_cells",
    "phase_cells",
    "phase_rods",
    "scatter_blobs",
    "scatter_spots",
    "smooth_noise",
    "stained_cells",
    "stained_tissue",
    "tissue",
    "tubes",
    "walls",
]
