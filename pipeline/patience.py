"""Patience with a store that has trouble: which errors may pass, and how they are waited for."""

import errno
import os
import random
import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

from pipeline.config import StorageConfig

# What the text of an error says where the same request may well succeed a little later.
_BUSY = ("SERVICE_UNAVAILABLE", "SLOW_DOWN", "THROTTLING", "HTTP status 503")
_PASSING = (*_BUSY, "INTERNAL_FAILURE", "NETWORK_CONNECTION", "REQUEST_TIMEOUT", "HTTP status 5")
PATIENCE = "MASKLET_STORAGE_PATIENCE_S"  # the variable that says how long it lasts, in seconds
# The same of errors that tell it by a number or by their name, as those of fsspec's stores do.
_ERRNOS = {
    *(errno.EBUSY, errno.EAGAIN, errno.EIO, errno.ETIMEDOUT, errno.EPIPE),
    getattr(errno, "EREMOTEIO", errno.EIO),  # of Linux alone
    *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED),
    *(errno.ENETUNREACH, errno.EHOSTUNREACH),
}
_CONNECTION = ("Connect", "Disconnected", "HTTPClientError")
_LONGEST_PAUSE_S = 30.0

_Result = TypeVar("_Result")


def asks_to_wait(error: Exception) -> bool:
    """Whether a server says that the same request may well succeed a little later."""
    named = ("status", "status_code", "code")  # by aiohttp, Azure and Google
    status = next((s for name in named if (s := getattr(error, name, None))), None)
    if isinstance(status, int):
        return status == 429 or status >= 500
    return isinstance(error, TimeoutError) or any(name in str(error) for name in _BUSY)


def may_pass(error: Exception) -> bool:
    """The same, or whether a store cannot be reached."""
    return (
        asks_to_wait(error)
        or (isinstance(error, OSError) and error.errno in _ERRNOS)
        or any(name in str(error) for name in _PASSING)
        or any(name in type(error).__name__ for name in _CONNECTION)
    )


def patiently(
    action: Callable[[], _Result], passes: Callable[[Exception], bool] = may_pass
) -> _Result:
    """Does this, again and again while a store has trouble that passes, for a limited time.

    The pauses grow and are drawn by lot, so that a thousand machines do not come back at once.
    """
    patience_s = float(os.environ.get(PATIENCE, StorageConfig().patience_s))
    end: float | None = None  # from the first trouble on: a long download is no trouble
    for attempt in count():
        try:
            return action()
        except Exception as error:  # each store has its own kinds
            end = end or time.monotonic() + patience_s
            pause_s = random.uniform(0, min(_LONGEST_PAUSE_S, 0.5 * 2**attempt))
            if not passes(error) or time.monotonic() + pause_s > end:
                raise
            time.sleep(pause_s)
    raise AssertionError("count() does not end")
