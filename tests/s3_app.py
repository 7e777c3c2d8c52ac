"""The program behind `S3Server`: moto, which answers in many threads, with conditional puts made atomic as on S3.

moto looks at the condition and stores the object in two steps, so that of two writers at once both may succeed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple


class OneWriterPerObject:
    """A WSGI application whose changes of one path run one after the other."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application
        self._locks = [threading.Lock() for _ in range(256)]  # paths share them by hash

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request."""
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return self._application(environ, start_response)
        with self._locks[hash(environ["PATH_INFO"]) % len(self._locks)]:
            return self._application(environ, start_response)


class Dispatcher(DomainDispatcherApplication):
    """moto's choice of a backend, made once for each host: it looks through moto's folders, a third of a request."""

    def __init__(self) -> None:
        super().__init__(create_backend_app)
        self.get_backend_for_host = cache(super().get_backend_for_host)  # type: ignore[method-assign]


if __name__ == "__main__":
    application = OneWriterPerObject(Dispatcher())
    run_simple("127.0.0.1", 0, application, threaded=True, request_handler=MotoRequestHandler)
