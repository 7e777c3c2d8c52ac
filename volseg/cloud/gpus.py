"""The GPUs that this process may use, without importing torch."""

from __future__ import annotations

import os
from pathlib import Path


def visible_gpus(devices: Path = Path("/dev")) -> tuple[str, ...]:
    """Return the ids of the NVIDIA GPUs that a child process may be given.

    Parameters
    ----------
    devices
        Folder of the device files.

    Returns
    -------
    tuple of str
        Those of ``CUDA_VISIBLE_DEVICES`` where it is set (indices or UUIDs), else one per device
        file.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        ids = [part.strip() for part in chosen.split(",")]
        return tuple(part for part in ids if part and part not in ("-1", "NoDevFiles", "void"))
    found = [path.name.removeprefix("nvidia") for path in devices.glob("nvidia[0-9]*")]
    return tuple(sorted((name for name in found if name.isdigit()), key=int))
