"""How ``nano`` is trained: each way a named value, so that what was measured can be done again.

Which kinds of images are drawn how often stands in ``recipes``, by the name in ``shares``.
"""

from __future__ import annotations

from dataclasses import dataclass

from volseg.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """All that decides the weights, beside the data, the code and the time.

    Attributes
    ----------
    name : str
        In `RECIPES`.
    shares : str
        Which kinds of images, how often: a name of ``recipes.RECIPES``.
    encoder : str or None
        A key of ``volseg.models.nano.architecture.ENCODERS``; None: that of the weights it starts from.
    start : str
        ``random``, or whose weights it starts from: ``nano``, ``nano@1``, or a checkpoint's path. Of
        weights with another encoder only what lies behind it is taken.
    trunk : str
        ``imagenet`` or ``random``: what the trunk of ``lite0`` starts from, where `start` has none.
    trunk_rate : float
        Learning rate of the trunk as a factor on `rate`.
    images, groups, prompts : int
        Images in a batch, groups of prompts for each, each of one kind, and prompts in a group.
    accumulate : int
        Batches a step.
    rate, weight_decay, average : float
        See ``loop.Schedule``.
    balanced : int
        Batches in which foreground and background weigh the same as wholes: from random weights nothing
        else learns, later it swells small objects.
    minutes : float
        How long, where nothing else is asked for.
    seed : int
        With the number of a batch it decides the batch.
    """

    name: str
    shares: str = "all sets"
    encoder: str | None = None
    start: str = "random"
    trunk: str = "imagenet"
    trunk_rate: float = 0.1
    images: int = 2
    groups: int = 2
    prompts: int = 4
    accumulate: int = 1
    rate: float = 1e-3
    weight_decay: float = 0.02
    average: float = 0.998
    balanced: int = 1900
    minutes: float = 60.0
    seed: int = 20261


RECIPES = {
    one.name: one
    for one in (
        Recipe("nano@1", shares="nano@1", encoder="pyramid"),
        Recipe("continue", start="nano", rate=3e-4, balanced=0),
        Recipe("lite0", encoder="lite0", start="nano@1", balanced=200),
        Recipe("lite0 alone", encoder="lite0"),
    )
}
DEFAULT = "continue"


def recipe_named(name: str) -> Recipe:
    """Return a recipe.

    Raises
    ------
    InputError
        None has this name.
    """
    if name not in RECIPES:
        raise InputError(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]
