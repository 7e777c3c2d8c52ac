"""A small job of the kind that volseg runs: each block notes its start, works, and creates its result conditionally.

Workers import it, so nothing but the standard library is imported until a block runs.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from typing import Any


def compute(place: str, block: int, seconds: float) -> str:
    """Do one block, unless it is done already; returns the address of the worker's host."""
    from distributed import get_worker

    from volseg.errors import AlreadyWrittenError
    from volseg.storage import open_store

    store = open_store(place)
    store.put_new(f"starts/{block}/{uuid.uuid4().hex}", b"")
    if not store.exists(f"done/{block}"):
        time.sleep(seconds)
        with contextlib.suppress(AlreadyWrittenError):
            store.put_new(f"done/{block}", str(block * block).encode())
    return str(get_worker().address.rsplit(":", 1)[0])


class Job:
    """Runs the blocks through a client, two per worker in flight at most, in a thread of its own.

    Parameters
    ----------
    connect
        Returns the client; called in that thread.
    place
        URL of an existing bucket's folder, without the last slash.
    blocks, seconds
        How many, and how long each works.
    """

    def __init__(self, connect: Any, place: str, blocks: int, seconds: float) -> None:
        self.ended = 0
        self.hosts: set[str] = set()
        self.error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._run, args=(connect, place, blocks, seconds), daemon=True
        )
        self._thread.start()

    def reached(self, blocks: int) -> bool:
        """Whether so many blocks have ended; raises what the job raised."""
        if self.error is not None:
            raise self.error
        return self.ended >= blocks

    def wait(self, seconds: float) -> None:
        """Wait for the end; raises what the job raised."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"the job still runs: {self.ended} blocks ended"
        if self.error is not None:
            raise self.error

    def _run(self, connect: Any, place: str, blocks: int, seconds: float) -> None:
        from distributed import as_completed

        try:
            with connect() as client, client.as_current():
                waiting = list(range(blocks))

                def submit() -> Any:
                    return client.submit(
                        compute, place, waiting.pop(0), seconds, pure=False, retries=3
                    )

                running = as_completed([submit() for _ in range(4)])
                for future in running:
                    self.hosts.add(future.result())
                    self.ended += 1
                    if waiting:
                        running.add(submit())
        except BaseException as error:
            self.error = error
