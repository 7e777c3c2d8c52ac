"""Prefect flows over the engine in `volseg.jobs`: thin, no algorithms."""
