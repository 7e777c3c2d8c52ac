"""obstore's clients, each made once: making one reads the system's certificates, and it begins without a connection.

What a client is for makes all of its key, so that a change of the environment's credentials opens a new one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from volseg.storage.credentials import s3_settings
from volseg.storage.urls import Location

if TYPE_CHECKING:
    from obstore.store import HTTPStore, S3Store

KEPT = 64
"""Clients that are kept for whoever opens the same place again, at 0.1 MiB each; a volume has a dozen places."""

Settings = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Retries:
    """How often a request that failed is repeated inside obstore, and after which pauses.

    Parameters
    ----------
    attempts
        Repetitions after the first request.
    first_pause_s, longest_pause_s
        Seconds; each pause is up to twice the one before.
    """

    attempts: int
    first_pause_s: float
    longest_pause_s: float

    def settings(self) -> Any:
        """Return them as obstore's ``RetryConfig``."""
        return {
            "max_retries": self.attempts,
            "retry_timeout": timedelta(seconds=60),
            "backoff": {
                "init_backoff": timedelta(seconds=self.first_pause_s),
                "max_backoff": timedelta(seconds=self.longest_pause_s),
                "base": 2,
            },
        }


def open_client(location: Location, retries: Retries) -> S3Store | HTTPStore:
    """Return obstore's store of an ``s3://`` or ``https://`` location with credentials from the environment.

    The same one again for the same place, settings and process; with an AWS profile a new one, which asks for the
    profile's credentials anew.
    """
    if location.scheme != "s3":
        return _web(os.getpid(), location, retries)
    config, client, provider = s3_settings()
    if provider is not None:
        return _make_s3(location, config, client, retries, provider)
    return _s3(os.getpid(), location, _frozen(config), _frozen(client), retries)


def _frozen(settings: Mapping[str, Any]) -> Settings:
    return tuple(sorted(settings.items()))


@lru_cache(maxsize=KEPT)
def _s3(
    process: int, location: Location, config: Settings, client: Settings, retries: Retries
) -> S3Store:
    """Return the client of this process: a forked one shares no connection with its parent."""
    return _make_s3(location, dict(config), dict(client), retries, None)


def _make_s3(
    location: Location, config: Any, client: Any, retries: Retries, provider: Any
) -> S3Store:
    from obstore.store import S3Store

    return S3Store(
        location.bucket,
        prefix=location.key or None,
        config=config,
        client_options=client,
        retry_config=retries.settings(),
        credential_provider=provider,
    )


@lru_cache(maxsize=KEPT)
def _web(process: int, location: Location, retries: Retries) -> HTTPStore:
    from obstore.store import HTTPStore

    options: Any = {"connect_timeout": "5s", "timeout": "120s"}
    if location.scheme == "http":
        options["allow_http"] = True
    return HTTPStore.from_url(location.url, client_options=options, retry_config=retries.settings())
