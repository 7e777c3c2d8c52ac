"""Weights on disk: a module's numbers as float16 in one file, and beside it a record with their SHA-256."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from volseg.errors import ModelUnavailableError


def read_weights(path: Path, sha256: str, record_name: str) -> dict[str, Tensor]:
    """Read what `write_weights` wrote.

    Parameters
    ----------
    path : Path
        The weights file.
    sha256 : str
        The digest that its record tells, lower-case hex.
    record_name : str
        Name of the record, for the error.

    Returns
    -------
    dict
        Tensors by name, float32, on the CPU.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ModelUnavailableError
        Its digest is another one.
    """
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise ModelUnavailableError(
            f"{path} has SHA-256 {digest}, but {record_name} records {sha256}: "
            "the file is damaged; install the package again"
        )
    weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return {name: value.float() for name, value in weights.items()}


def write_weights(module: nn.Module, path: Path, record: Path, facts: dict[str, Any]) -> str:
    """Write a module's weights as float16, then their record; files of these names are replaced.

    Parameters
    ----------
    module : nn.Module
        Whose weights.
    path, record : Path
        The weights file, and the JSON file of its name, digest, size, dtype and number of parameters.
    facts : dict
        What the record says beyond that.

    Returns
    -------
    str
        SHA-256 of the weights file.
    """
    weights = {
        name: value.detach().to("cpu", torch.float16).contiguous()
        for name, value in module.state_dict().items()
    }
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    told = {
        "file": path.name,
        "sha256": digest,
        "bytes": len(content),
        "dtype": "float16",
        "parameters": sum(value.numel() for value in module.parameters()),
        **facts,
    }
    _replace(path, content)
    _replace(record, (json.dumps(told, indent=2) + "\n").encode())
    return digest


def _replace(path: Path, content: bytes) -> None:
    """Put content in place of a file at once, so that no reader finds half of it."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content)
    os.replace(partial, path)
