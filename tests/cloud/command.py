"""`python -m tests.cloud.command …`: this part's commands alone."""

from __future__ import annotations

import typer

from volseg.cli import cloud, worker


def make_app() -> typer.Typer:
    """Return an app with the commands of this part."""
    app = typer.Typer()
    app.callback()(lambda: None)
    cloud.add_to(app)
    worker.add_to(app)
    return app


if __name__ == "__main__":
    make_app()()
