"""Trouble that passes is waited for, and no other."""

import errno
from collections.abc import Callable
from itertools import count

import pytest

from pipeline import patience
from pipeline.patience import asks_to_wait, may_pass, patiently


def failing(times: int, text: str) -> Callable[[], int]:
    """Something that fails so often before it works."""
    left = count(times, -1)

    def action() -> int:
        if next(left) > 0:
            raise OSError(text)
        return 7

    return action


def test_trouble_that_passes_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", pauses.append)

    assert patiently(failing(5, "AWS Error SLOW_DOWN during PutObject")) == 7
    assert len(pauses) == 5
    assert all(0 <= pause <= 0.5 * 2**i for i, pause in enumerate(pauses))


def test_patience_begins_with_the_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: None)
    fails = failing(1, "AWS Error SLOW_DOWN")

    def long_action() -> int:
        clock[0] += 1e6  # it takes longer than patience lasts
        return fails()

    assert patiently(long_action) == 7


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKLET_STORAGE_PATIENCE_S", "0.2")

    with pytest.raises(OSError, match="SLOW_DOWN"):
        patiently(failing(65_535, "AWS Error SLOW_DOWN"))


class ServerDisconnectedError(Exception):
    """Called as aiohttp's."""


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(errno.EBUSY, "Please reduce your request rate."), True),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), True),
        (TimeoutError(), True),
        (ServerDisconnectedError(), True),
        (FileNotFoundError(errno.ENOENT, "nothing there"), False),
        (PermissionError("Access Denied"), False),
        (ValueError("no such scheme"), False),
    ],
)
def test_what_may_pass_is_known_by_its_number_or_its_name(error: Exception, passes: bool) -> None:
    assert may_pass(error) is passes


@pytest.mark.parametrize("name", ["status", "status_code", "code"])
@pytest.mark.parametrize(("status", "waits"), [(503, True), (429, True), (403, False)])
def test_a_server_may_ask_to_wait(name: str, status: int, waits: bool) -> None:
    error = OSError("said by HTTP")
    setattr(error, name, status)

    assert asks_to_wait(error) is waits


@pytest.mark.parametrize("text", ["AWS Error ACCESS_DENIED", "No space left on device"])
def test_trouble_that_stays_is_told_at_once(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: pytest.fail("it waited"))

    with pytest.raises(OSError, match=text):
        patiently(failing(1, text))
