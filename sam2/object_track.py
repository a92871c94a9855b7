"""What a session knows of one object: prompts, masks, where it was followed, what it remembers.

All of it values: a change gives a new one, and the session commits it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self, TypeVar

from sam2.memory import FrameMemory, MemoryBank
from sam2.prompts import PointPrompt, Prompt
from sam2.tracking import FrameMask

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, eq=False)
class PendingAnswer:
    """A prompt's answer whose memory is not made yet."""

    found: FrameMask
    conditioning: bool  # a frame to be remembered for good, not as one tracked frame of many


@dataclass(frozen=True, slots=True)
class Walks:
    """The frames an object was followed to, and in which direction last: spans, newest last.

    Kept for as long as the session lives, so a walk of any length is one span.
    """

    spans: tuple[tuple[int, int, bool | None], ...] = ()  # first, last, reverse; None: forgotten

    def at(self, frame: int) -> bool | None:
        """Whether `frame` was last walked in reverse; None if it was not walked."""
        newest = (
            reverse for first, last, reverse in reversed(self.spans) if first <= frame <= last
        )
        return next(newest, None)

    def frames(self) -> dict[int, bool]:
        """Every frame walked, and whether last in reverse."""
        newest = {f: reverse for first, last, reverse in self.spans for f in range(first, last + 1)}
        return {f: reverse for f, reverse in newest.items() if reverse is not None}

    def to(self, frame: int, reverse: bool) -> "Walks":
        """The walks with one more frame."""
        first = last = frame
        if self.spans and self.spans[-1][2] is reverse:
            start, stop, _ = self.spans[-1]
            if start - 1 <= frame <= stop + 1:
                first, last = min(start, frame), max(stop, frame)
        return self._over(first, last, reverse)

    def forget(self, frame: int) -> "Walks":
        """The walks as if `frame` had been left out."""
        return self if self.at(frame) is None else self._over(frame, frame, None)

    def _over(self, first: int, last: int, reverse: bool | None) -> "Walks":
        seen = [s for s in self.spans if not (first <= s[0] and s[1] <= last)]
        return Walks((*seen, (first, last, reverse)))


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One object of a session."""

    prompts: Mapping[int, Prompt] = field(default_factory=dict)
    answers: Mapping[int, PendingAnswer] = field(default_factory=dict)
    found: Mapping[int, FrameMask] = field(default_factory=dict)
    walked: Walks = Walks()
    bank: MemoryBank = field(default_factory=MemoryBank)

    def at(self, frame: int) -> FrameMask | None:
        """The newest mask on `frame`, if there is one."""
        answer = self.answers.get(frame)
        return answer.found if answer else self.found.get(frame)

    @property
    def conditioning(self) -> set[int]:
        """The conditioning frames that are remembered already."""
        return {m.frame for m in self.bank.prompted}

    @property
    def prompted(self) -> set[int]:
        """The conditioning frames, those with an answer not remembered yet among them."""
        return self.conditioning | {frame for frame, a in self.answers.items() if a.conditioning}

    def joined(self, frame: int, prompt: Prompt) -> Prompt:
        """The prompt together with the points given for this frame before."""
        before = self.prompts.get(frame)
        if isinstance(before, PointPrompt) and isinstance(prompt, PointPrompt):
            return before.extended(prompt)
        return prompt

    def answered(self, frame: int, prompt: Prompt, answer: PendingAnswer) -> Self:
        """The object with one more prompt and its answer."""
        return replace(
            self,
            prompts={**self.prompts, frame: prompt},
            answers={**self.answers, frame: answer},
        )

    def remembering(self, memory: FrameMemory, found: FrameMask, conditioning: bool) -> Self:
        """The object with the memory and the mask of one more frame."""
        remember = self.bank.remember_prompted if conditioning else self.bank.remember
        return replace(self, bank=remember(memory), found={**self.found, memory.frame: found})

    def without_prompt(self, frame: int) -> Self:
        """The object after its prompt on `frame` is taken back.

        What it remembers of a conditioning frame stays, but as of any other tracked frame, and the
        next prompt there makes a conditioning frame again.
        """
        left = replace(self.without_answer(frame), prompts=_without(self.prompts, frame))
        memory = next((m for m in self.bank.prompted if m.frame == frame), None)
        if memory is None:
            return left
        bank = self.bank.forget(frame).remember(memory)
        return replace(left, bank=bank, walked=self.walked.forget(frame))

    def without_answer(self, frame: int) -> Self:
        """The object as if the prompt on `frame` had not been answered."""
        return replace(self, answers=_without(self.answers, frame))

    def forget(self, frame: int) -> Self:
        """The object without memory and mask of `frame`."""
        return replace(self, bank=self.bank.forget(frame), found=_without(self.found, frame))

    def lacks(self, frames: Iterable[int]) -> bool:
        """Whether it was followed to any of these frames and remembers nothing of it any more."""
        kept = {m.frame for m in (*self.bank.prompted, *self.bank.tracked)}
        return any(f not in kept and self.walked.at(f) is not None for f in frames)

    def recent(self, history: int, reach: int) -> Self:
        """The object without what no walk reads again: see `MemoryBank.recent`."""
        bank = self.bank.recent(history, reach)
        kept = {m.frame for m in (*bank.prompted, *bank.tracked)}
        return replace(self, bank=bank, found={f: m for f, m in self.found.items() if f in kept})


def _without(values: Mapping[int, _Value], frame: int) -> Mapping[int, _Value]:
    return {f: value for f, value in values.items() if f != frame}
