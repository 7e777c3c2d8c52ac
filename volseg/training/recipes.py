"""How often each kind of image is drawn while ``nano`` trains: named tables of shares.

A table holds relative weights; what it doesn't name doesn't train.
"""

from __future__ import annotations

from volseg.errors import InputError

Shares = dict[str, float]

NANO_1: Shares = {
    "nuclei_dsb2018": 0.19,
    "fibsem_medulla": 0.40,
    "nuclei_ovule_1135": 0.14,
    "nuclei_stardist3d": 0.07,
    "mr_cord_t1": 0.02,
    "synthetic_nuclei": 0.10,
    "synthetic_membranes": 0.05,
    "synthetic_tissue": 0.03,
}
"""The last sitting of the first weights, `nano@1`."""

ALL_SETS: Shares = {
    "nuclei_dsb2018": 0.12,
    "fibsem_medulla": 0.16,
    "nuclei_ovule_1135": 0.07,
    "nuclei_stardist3d": 0.04,
    "mr_cord_t1": 0.01,
    "em_axon": 0.04,
    "em_chloroplast": 0.035,
    "phase_usiigaci": 0.06,
    "phase_bacteria": 0.02,
    "plant_maize": 0.015,  # its truth is a watershed's, and split too often where it is bright
    "ct_organs": 0.03,  # truth by a model
    "em_powder": 0.035,
    "photo_gravel": 0.015,  # truth by a model, looked over; one picture
    "ct_sandstone": 0.02,
    "mr_heart": 0.035,
    "mr_spine": 0.035,
    "ct_heart": 0.015,
    "ct_aorta": 0.01,  # one patient
    "us_carotid": 0.015,
    "octa_fovea": 0.01,  # a vague rim
    "histo_glands": 0.035,
    "histo_glomeruli": 0.015,
    "photo_concrete": 0.01,  # polygons
    "synthetic_nuclei": 0.04,
    "synthetic_membranes": 0.02,
    "synthetic_tissue": 0.01,
    "synthetic_walls": 0.02,
    "synthetic_stained_cells": 0.015,
    "synthetic_micrographs": 0.01,
    "synthetic_fibres": 0.01,
    "synthetic_phase_cells": 0.015,
    "synthetic_phase_rods": 0.01,
    "synthetic_organs": 0.015,
    "synthetic_tubes": 0.015,
    "synthetic_channels": 0.015,
    "synthetic_stained_tissue": 0.015,
}
"""All real sets that train: those of `nano@1` at .4 of their weight, so that a click learns more than
nuclei and neurites; the new ones by how good and how many their objects are; and every procedural
kind a little, most where few real pictures are."""

RECIPES = {"nano@1": NANO_1, "all sets": ALL_SETS}
DEFAULT = "all sets"


def shares(recipe: str) -> Shares:
    """Return the table of a recipe.

    Raises
    ------
    InputError
        No recipe has this name.
    """
    if recipe not in RECIPES:
        raise InputError(f"no recipe named {recipe!r}; there are {', '.join(RECIPES)}")
    return dict(RECIPES[recipe])
