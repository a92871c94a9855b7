"""Who goes next: which videos begin, which frames are encoded, which objects share a batch.

The scheduler knows neither tensors nor threads. It is told what has happened and says what to do.

A video is walked through by all its tracks in step. Its decoded frames wait to be encoded; an
encoded frame is reached when all tracks are done with the one before; then each track that has to
be followed to it is ready. Whoever has waited longest is in the next batch, with those of the same
kind: a track that is ready waits for at most as many batches as there are tracks ready before it,
and each of them for at most as many encodings as there are walks.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice


@dataclass(frozen=True, slots=True)
class ObjectFrame:
    """A track that is ready to be followed to the frame which its walk has reached."""

    walk: int
    track: int
    kind: Hashable  # only object-frames of one kind can share a batch


@dataclass(frozen=True, slots=True)
class Encode:
    """Encode the next decoded frame of each of these walks; one may be named more than once."""

    walks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Follow:
    """Follow these objects to their frames, all in one batch."""

    batch: tuple[ObjectFrame, ...]


@dataclass(slots=True)
class _Progress:
    """What the scheduler knows of a walk under way."""

    decoded: int = 0  # frames that wait to be encoded
    encoded: int = 0  # frames that wait to be reached
    following: int = 0  # tracks that are not done with the frame reached last

    @property
    def stock(self) -> int:
        """Frames it can still go to, or is on; without any it is hungry."""
        return self.encoded + (self.following > 0)


class Scheduler:
    """Decides what an engine does next, within its limits."""

    def __init__(
        self, max_batch: int = 16, encode_batch: int = 1, slots: int = 64, bank_bytes: int = 4 << 30
    ) -> None:
        self.max_batch = max_batch  # objects followed together
        self.encode_batch = encode_batch  # frames encoded together, and the most that wait encoded
        self.slots = slots  # tracks alive at once
        self.bank_bytes = bank_bytes  # of what all tracks alive may come to remember
        self._asking: deque[tuple[int, Mapping[int, int]]] = deque()
        self._banks: dict[tuple[int, int], int] = {}  # bytes of every (walk, track) alive
        self._walks: dict[int, _Progress] = {}  # first the one whose last encoding is longest ago
        self._ready: list[ObjectFrame] = []  # first the one that has waited longest
        self._waited = 0  # encodings that a batch has waited for

    # ---- which walks begin

    def split(self, banks: Mapping[int, int]) -> list[dict[int, int]]:
        """Tracks with the bytes of their banks -> parts that each fit into the limits.

        A track that is too large by itself is a part of its own: it will be alive alone.
        """
        parts: list[dict[int, int]] = []
        for track, size in banks.items():
            if not parts or not self._fits([*parts[-1].values(), size]):
                parts.append({})
            parts[-1][track] = size
        return parts

    def ask(self, walk: int, banks: Mapping[int, int]) -> None:
        """A walk asks to begin, with the most bytes that the bank of each of its tracks takes."""
        self._asking.append((walk, banks))

    @property
    def waiting(self) -> int:
        """Tracks that wait to begin."""
        return sum(len(banks) for _, banks in self._asking)

    def admit(self) -> list[int]:
        """The walks that begin now, first come first served; their tracks are alive from now on."""
        admitted = []
        while self._asking:
            walk, banks = self._asking[0]
            if self._banks and not self._fits([*self._banks.values(), *banks.values()]):
                break
            self._asking.popleft()
            self._banks |= {(walk, track): size for track, size in banks.items()}
            self._walks[walk] = _Progress()
            admitted.append(walk)
        return admitted

    def _fits(self, banks: Iterable[int]) -> bool:
        sizes = list(banks)
        return len(sizes) <= self.slots and sum(sizes) <= self.bank_bytes

    # ---- what has happened

    def decoded(self, walk: int) -> None:
        """One more frame of a walk waits to be encoded."""
        self._walks[walk].decoded += 1

    def reached(self, walk: int, followed: Iterable[ObjectFrame]) -> None:
        """A walk has come to its next encoded frame; these of its tracks are ready."""
        ready = list(followed)
        self._walks[walk].encoded -= 1
        self._walks[walk].following = len(ready)
        self._ready += ready

    def done(self, followed: ObjectFrame) -> None:
        """A track was followed to its frame."""
        self._walks[followed.walk].following -= 1

    def ended(self, walk: int, track: int) -> None:
        """A track is not alive any more; its slot is free."""
        self._banks.pop((walk, track), None)

    def drop(self, walk: int) -> None:
        """A walk is over, whatever it still had to do."""
        self._asking = deque(asking for asking in self._asking if asking[0] != walk)
        self._banks = {key: size for key, size in self._banks.items() if key[0] != walk}
        self._walks.pop(walk, None)
        self._ready = [waiting for waiting in self._ready if waiting.walk != walk]

    # ---- what to do

    def next(self) -> Encode | Follow | None:
        """What to do now, and to tell of when it is done; None: wait for a frame to be decoded.

        A batch that is not full waits until no walk is hungry, or each has had its turn: one that
        follows nobody would be hungry for ever.
        """
        batch = self._batch()
        waits = len(batch) < self.max_batch and self._waited < len(self._walks)
        if (waits or not batch) and (walks := self._to_encode()):
            self._waited += bool(batch)
            return Encode(walks)
        self._waited = 0
        if batch:
            chosen = set(batch)
            self._ready = [waiting for waiting in self._ready if waiting not in chosen]
            return Follow(batch)
        return None

    def _batch(self) -> tuple[ObjectFrame, ...]:
        alike = (waiting for waiting in self._ready if waiting.kind == self._ready[0].kind)
        return tuple(islice(alike, self.max_batch))

    def _to_encode(self) -> tuple[int, ...]:
        """If a walk is hungry, a batch of frames: the walks with the smallest stock come first."""
        chosen: list[int] = []
        while len(chosen) < self.encode_batch:
            stocks = {n: w.stock for n, w in self._walks.items() if w.decoded}
            number = min(stocks, key=stocks.__getitem__, default=None)
            if number is None or stocks[number] >= (self.encode_batch if chosen else 1):
                break
            walk = self._walks.pop(number)
            walk.decoded, walk.encoded = walk.decoded - 1, walk.encoded + 1
            self._walks[number] = walk  # behind the others
            chosen.append(number)
        return tuple(chosen)
