"""Peak memory of this process, and of no other."""

from __future__ import annotations

from pathlib import Path


def peak_mib() -> float:
    """Peak resident memory in MiB since this program was started.

    Not `getrusage`: a new process inherits its parent's peak there.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmHWM: this benchmark needs Linux")
