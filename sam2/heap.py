"""The heap of the C library: what lies free in it goes back to the system now and then."""

import ctypes
from time import monotonic

EVERY = 10.0  # seconds; giving back takes some ms, but what is given back has to be had again


class Heap:
    """The heap of this process. Nothing is done where the C library is not glibc."""

    def __init__(self, every: float = EVERY) -> None:
        self._trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        self._every = every
        self._trimmed = monotonic()

    def tidy(self) -> None:
        """Gives back what is free, if the last time is long enough ago."""
        if self._trim and monotonic() - self._trimmed >= self._every:
            self._trim(0)
            self._trimmed = monotonic()
