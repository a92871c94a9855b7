"""What is wrong with values that people wrote, in lines that they can act on."""

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches

from pydantic import ValidationError
from pydantic_core import ErrorDetails

Place = tuple[int | str, ...]  # in nested values: keys and positions
Known = Callable[[Place], tuple[str, Sequence[str]]]  # an unknown key's name, and what it might be


def explain(error: ValidationError, known: Known) -> Iterator[str]:
    """One readable line for each thing that pydantic found."""
    for detail in error.errors(include_url=False):
        steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in detail["loc"])
        place = "".join(steps).removeprefix(".")
        yield f"{place}: {_meaning(detail, known)}" if place else _meaning(detail, known)


def _meaning(detail: ErrorDetails, known: Known) -> str:
    if detail["type"] == "extra_forbidden":
        return _unknown(*known(detail["loc"]))
    if detail["type"] == "value_error":  # ours: it names what it should, and never a password
        return detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "json_invalid":  # it knows of one line alone, and others name that
        return detail["msg"].replace(" at line 1 column ", " at column ")
    given = detail["input"]
    is_short = isinstance(given, int | float | str) and len(repr(given)) < 50
    return f"{detail['msg']}, not {given!r}" if is_short else detail["msg"]


def _unknown(key: str, names: Sequence[str]) -> str:
    near = get_close_matches(key, names, n=1)
    guess = f"did you mean '{near[0]}'? " if near else ""
    return f"unknown key; {guess}Known here: {', '.join(names)}"
