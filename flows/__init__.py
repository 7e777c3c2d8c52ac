"""Prefect flows over the engine in `volseg.pipelines.segmentation`: thin, no algorithms.

Importing any of them first makes Prefect quiet, offline and patient (`flows.quiet`), as it reads its settings once.
"""

from flows.quiet import be_quiet

be_quiet()
