"""Prompts: their values, the prompts file, the checks against a volume, and prompts made out of
existing labels.
"""

from volseg.prompts.from_labels import prompts_from_labels
from volseg.prompts.models import (
    Layer,
    Prompt,
    PromptedObject,
    PromptSet,
    RunLengthMask,
    Scribble,
)
from volseg.prompts.reading import as_prompts, load_prompts, parse_prompts
from volseg.prompts.typed import typed_prompts

__all__ = [
    "Layer",
    "Prompt",
    "PromptSet",
    "PromptedObject",
    "RunLengthMask",
    "Scribble",
    "as_prompts",
    "load_prompts",
    "parse_prompts",
    "prompts_from_labels",
    "typed_prompts",
]
