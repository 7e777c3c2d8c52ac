"""Work that threads do ahead of who takes its results, in order and with a bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_order(
    pool: ThreadPoolExecutor, act: Callable[[_Item], _Result], items: Iterable[_Item], ahead: int
) -> Iterator[_Result]:
    """Yield ``act`` of each item, in the items' order, while up to `ahead` of the next are worked on.

    What ``act`` raises is raised where its result would have come.
    """
    following = iter(items)
    waiting = deque(pool.submit(act, item) for item in islice(following, ahead))
    while waiting:
        result = waiting.popleft().result()
        waiting.extend(pool.submit(act, item) for item in islice(following, 1))
        yield result
