"""Exported stacks, reopened without a screen by ImageJ (Debian's `libij-java`)."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from volseg.exporting import export
from volseg.images.labels import Labels

IMAGEJ = Path("/usr/share/java/ij.jar")
READER = Path(__file__).with_name("Reopen.java")


@pytest.mark.skipif(
    not IMAGEJ.exists() or shutil.which("javac") is None,
    reason="no ImageJ: deploy/debian-packages.sh installs it on Debian",
)
def test_imagej_reads_sizes_and_voxels(labels: Labels, truth: np.ndarray, out: Path) -> None:
    small = np.where(truth == 70_000, 0, truth)
    export(labels, out / "own.tif", imagej=True, objects=[3, 7, 9, 300])
    export(labels, out / "ome.tif", objects=[3, 7, 9, 300])
    export(labels, out / "wide.tif")
    names = [str(out / name) for name in ("own.tif", "ome.tif", "wide.tif")]
    java = ["java", "-Djava.awt.headless=true", "-cp", str(IMAGEJ), str(READER), *names]
    done = subprocess.run(java, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()
    own, ome, wide = (json.loads(line) for line in done.stdout.splitlines())
    for seen, array, bits in ((own, small, 16), (ome, small, 16), (wide, truth, 32)):
        assert seen["shape_zyx"] == list(truth.shape)
        assert seen["bits"] == bits
        assert seen["sums"] == array.sum((1, 2)).tolist()
        assert seen["voxel_zyx"][1:] == [0.5, 0.5]
        assert seen["unit"] == "µm"
    assert own["voxel_zyx"][0] == 2.0
    # ImageJ's own reader knows nothing of OME-XML, the only place of z; Bio-Formats does
    assert ome["voxel_zyx"][0] == 1.0
