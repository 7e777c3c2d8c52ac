"""Finding a family of classifiers by name: ours, and those of other packages.

An entry point of the group ``volseg.classifiers`` names a `Family`.
"""

from __future__ import annotations

from volseg.classify.objects import logistic, network, trees
from volseg.classify.objects.classifier import Family
from volseg.errors import InputError
from volseg.extensions import extensions

GROUP = "volseg.classifiers"


def families() -> dict[str, Family]:
    """Return the families by name: ours, then those of other packages."""
    own = (logistic.FAMILY, trees.FAMILY, network.FAMILY)
    return {one.name: one for one in (*extensions(GROUP, Family), *own)}


def find_family(name: str) -> Family:
    """Return a family by name.

    Raises
    ------
    InputError
        There is none of this name.
    """
    known = families()
    if name not in known:
        raise InputError(f"--kind {name!r}: expected auto or one of {', '.join(sorted(known))}")
    return known[name]
