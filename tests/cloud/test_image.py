"""The cpu image really built, from a bare Debian, and a volseg job run inside it as nobody special. Long mode only.

Needs root, buildah and debootstrap, about 40 GB of disk, and a way to Debian's mirror and a package index.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
BUILDAH = ["buildah", "--storage-driver", "vfs"]
HOUR = 3600

pytestmark = pytest.mark.long


def sh(*command: str, timeout: int = HOUR) -> str:
    done = subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, (
        f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    )
    return done.stdout


def as_pip_does_here(folder: Path) -> list[str]:
    """What lets pip find its index inside as it does on this machine: written for the build, kept nowhere."""
    told = sh(sys.executable, "-m", "pip", "config", "list").splitlines()
    found = {}
    for line in told:  # such as global.index-url='https://…' and :env:.index-url='…', which wins
        name, _, value = line.partition("=")
        value = value.strip().strip("'\"")
        key = name.rpartition(".")[2]
        if key in ("index-url", "extra-index-url", "default-timeout", "proxy", "trusted-host"):
            kept = [part for part in value.split("\\n") if not part.strip().startswith("file:")]
            found[key] = " ".join(kept).strip()
        if key == "cert":
            # not over the image's own: installing ca-certificates writes there
            shutil.copy(value, folder / "ca.pem")
            found[key] = "/run/build/ca.pem"
    lines = ["[global]", *(f"{key} = {value}" for key, value in found.items() if value)]
    (folder / "pip.conf").write_text("\n".join(lines) + "\n")
    given = {folder: "/run/build", folder / "pip.conf": "/etc/pip.conf"}
    return [part for p, at in given.items() for part in ("--volume", f"{p}:{at}:ro")]


def images() -> set[str]:
    """Ids of all images there are, those without a name included: stages of a build are left as such."""
    return set(sh(*BUILDAH, "images", "--all", "--quiet", "--no-trunc").split())


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A container of the image, built without its layers being kept."""
    for tool in ("buildah", "debootstrap"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed (a Debian package of that name)")
    if os.geteuid() != 0:
        pytest.skip("building needs root")
    before = images()
    root = tmp_path_factory.mktemp("image") / "root"
    sh("debootstrap", "--variant=minbase", "bookworm", str(root))
    base = sh(*BUILDAH, "from", "scratch").strip()
    sh(*BUILDAH, "add", base, str(root), "/")
    sh(*BUILDAH, "commit", "--rm", base, "localhost/volseg-base")
    shutil.rmtree(root)
    pip = as_pip_does_here(tmp_path_factory.mktemp("pip"))
    build = ["build", "--isolation", "chroot", "--layers=false", *pip]
    build += ["--build-arg", "BASE=localhost/volseg-base", "--target", "cpu"]
    sh(*BUILDAH, *build, "-t", "localhost/volseg-test", "-f", "deploy/Dockerfile", ".")
    name = sh(*BUILDAH, "from", "localhost/volseg-test").strip()
    yield name
    sh(*BUILDAH, "rm", name)
    sh(*BUILDAH, "rmi", "--force", *(images() - before))


def inside(container: str, *command: str) -> str:
    return sh(*BUILDAH, "run", "--isolation", "chroot", container, "--", *command)


def test_it_runs_as_a_user_without_rights(container: str) -> None:
    assert inside(container, "id", "-u").strip() == "1000"


def test_every_program_of_a_cluster_is_in_it(container: str) -> None:
    assert inside(container, "volseg", "--version").startswith("volseg ")
    for program in ("dask", "prefect"):
        inside(container, program, "--version")
    inside(container, "volseg", "cloud", "--help")
    inside(
        container,
        "python",
        "-c",
        "from volseg.cloud.files import deploy_file as f; f('stack.yaml')",
    )


def test_a_job_runs_in_it(container: str) -> None:
    told = inside(container, "volseg", "demo", "--out", "/tmp/demo", "--json")
    assert json.loads(told.strip().splitlines()[-1])
