"""The flow `embed_volume`: fills the embedding cache ahead of interactive work. `python -m flows.embed --help`."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

from prefect import flow
from pydantic import Field

from flows.starting import channels, make_parser, start, whole_number, zoom
from flows.telling import Telling, publish_report

Index = Annotated[int, Field(ge=0)]


@flow(
    name="embed_volume",
    flow_run_name="embed-by-{model}",
    description="Fill the embedding cache of a volume.",
    persist_result=False,
)
def embed_volume(
    url: str,
    model: str = "nano",
    z: tuple[Index, Index] | None = None,
    channel: Index | list[Index] | None = None,
    level: Index = 0,
    time: Index = 0,
    zoom: Annotated[float, Field(gt=0, le=64)] | Literal["auto"] | None = "auto",
    labels_at: str | None = None,
) -> dict[str, Any]:
    """Embed a volume; parameters as in `volseg.features.embed_volume`."""
    from volseg.features import embed_volume as embed
    from volseg.images.image import open_volume

    telling = Telling(f"embeddings by {model}")
    volume = open_volume(url, labels_at)
    key = embed(
        volume, model, z=z, channel=channel, level=level, time=time, zoom=zoom, progress=telling
    )
    telling.end()
    text = f"{volume.output_store.location}/volseg/embeddings/{key}"
    publish_report(text)
    return {"key": str(key), "text": text}


def main(arguments: list[str] | None = None) -> int:
    """Run the flow as a program; returns the exit status."""
    parser = make_parser("embed", "Fill the embedding cache ahead of interactive work.")
    parser.add_argument("url", metavar="URL", help="OME-Zarr image")
    parser.add_argument("--model", default="nano", help="name, path or URL of a model")
    parser.add_argument("--z", nargs=2, type=whole_number(0), metavar=("A", "B"), help="slices")
    parser.add_argument("--channel", type=channels, help="channel, or up to three: 0,1,2")
    parser.add_argument("--level", type=whole_number(0), default=0, help="level of the image")
    parser.add_argument("--time", type=whole_number(0), default=0, help="time point")
    parser.add_argument("--zoom", type=zoom, default="auto", help="model pixels per voxel; auto: 1")
    parser.add_argument("--labels-at", metavar="URL", help="where labels, cache and runs go")
    return start(embed_volume, parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
