"""The flow `embed_volume`: fills the embedding cache ahead of interactive work. `python -m flows.embed --help`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from prefect import flow
from pydantic import Field

from flows.starting import start
from flows.telling import Telling, publish_report
from volseg.cli.declared import as_typed
from volseg.cli.options import LabelsAt, Url, parse_range
from volseg.options import flattened
from volseg.pipelines.options import LookOptions

Index = Annotated[int, Field(ge=0)]


@flow(
    name="embed_volume",
    flow_run_name="embed-by-{model}",
    description="Fill the embedding cache of a volume.",
    persist_result=False,
)
@flattened()
def embed_volume(
    url: str,
    look: LookOptions,
    z: tuple[Index, Index] | None = None,
    labels_at: str | None = None,
) -> dict[str, Any]:
    """Embed a volume; parameters as in `volseg.features.embed_volume`."""
    from volseg.features import embed_volume as embed
    from volseg.images.image import open_volume

    telling = Telling(f"embeddings by {look.model}")
    volume = open_volume(url, labels_at)
    key = embed(volume, z=z, progress=telling, **look.model_dump())
    telling.end()
    text = f"{volume.output_store.location}/volseg/embeddings/{key}"
    publish_report(text)
    return {"key": str(key), "text": text}


@flattened(as_typed)
def _program(
    url: Url,
    look: LookOptions,
    z: Annotated[str | None, typer.Option(help="Slices A:B.")] = None,
    labels_at: LabelsAt = None,
) -> dict[str, Any]:
    """Fill the embedding cache ahead of interactive work."""
    slices = parse_range(z, "--z")
    result: dict[str, Any] = embed_volume(url, z=slices, labels_at=labels_at, **look.model_dump())
    return result


if __name__ == "__main__":
    sys.exit(start("embed", _program))
