"""`segment_anything` is loaded as far as it is needed, and whole for whoever asks for more."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import PROJECT

PROGRAM = """
import sys
import volseg.models.sam.network
assert "segment_anything.modeling" in sys.modules
assert not {"torchvision", "torch._dynamo", "segment_anything.predictor"} & set(sys.modules)
import segment_anything
assert not hasattr(segment_anything, "__no_such_name__")
from segment_anything import SamPredictor, sam_model_registry
assert "torchvision" in sys.modules
assert segment_anything.modeling.Sam is sys.modules["segment_anything.modeling"].Sam
assert segment_anything.SamPredictor is SamPredictor
try:
    segment_anything.no_such_name
except AttributeError as error:
    assert "no_such_name" in str(error)
else:
    raise AssertionError("a name that is not there")
"""


def test_the_compiler_and_torchvision_wait_until_somebody_asks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=PROJECT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
