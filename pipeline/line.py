"""A thread of its own for works that follow one another."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Result = TypeVar("_Result")


class Line:
    """Does one work after the other in a thread, and none after one that failed."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._failure: BaseException | None = None

    def submit(self, work: Callable[[], _Result]) -> "Future[_Result]":
        """The work's result to be; whatever ended a work before it ends this one too."""
        return self._pool.submit(self._in_turn, work)

    def _in_turn(self, work: Callable[[], _Result]) -> _Result:
        if self._failure:
            raise self._failure
        try:
            return work()
        except BaseException as error:
            self._failure = error
            raise

    def close(self) -> None:
        """Ends the thread once the work in hand is done; what waits behind it is never done."""
        self._pool.shutdown(cancel_futures=True)
        self._failure = None  # it holds on to whatever the work that failed had in hand
