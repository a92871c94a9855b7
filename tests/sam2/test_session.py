"""What a session does with prompts, corrections and walks; as the published predictor does it."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sam2.memory import Recollection
from sam2.model import FrameFeatures, Sam2
from sam2.prompts import MaskPrompt, PointPrompt
from sam2.session import Session, SessionError
from sam2.session_file import load_session, save_session
from sam2.tracking import ABSENT, FrameMask, Step, answer_points
from tests.sam2.tiny import features_of, pictures, ready, same, tiny_model

FRAMES = 9
SIZE = (48, 80)  # of the video, height and width
CLICK = PointPrompt(points=((20, 20),), labels=(1,))
OTHER_CLICK = PointPrompt(points=((60, 30),), labels=(1,))
NOT_THERE = PointPrompt(points=((70, 30),), labels=(0,))
BOX = PointPrompt(box=(10, 10, 40, 30))
MASK = MaskPrompt(torch.ones(48, 80).tril().bool())


def model() -> Sam2:
    """One in which every object is there, so that each change of memory shows."""
    return tiny_model(score_shift=100)


@pytest.fixture
def session() -> Session:
    return Session(model(), ready(pictures(FRAMES)), SIZE)


class Stream:
    """Frames that come once, one after another: only the newest is held."""

    def __init__(self) -> None:
        self.pictures = ready(pictures(FRAMES))
        self.newest = 0

    def __getitem__(self, index: int, /) -> Tensor:
        if index < self.newest:
            raise RuntimeError(f"frame {index} is gone")
        self.newest = index
        return self.pictures[index]


@pytest.fixture
def correcting() -> Session:
    """A session whose corrections make conditioning frames."""
    return Session(model(), ready(pictures(FRAMES)), SIZE, corrections_condition=True)


def walk(session: Session, start: int | None = None, **how: object) -> list[int]:
    """The frames that a propagation visits."""
    return [frame for frame, _ in session.propagate(start, **how)]


def found(session: Session, object_id: object = 1) -> dict[int, FrameMask]:
    return dict(session.tracks[object_id].found)


def features_at(frame: int) -> FrameFeatures:
    return features_of(model(), pictures(FRAMES)[frame : frame + 1])


def differing(one: dict[int, FrameMask], other: dict[int, FrameMask]) -> list[int]:
    assert one.keys() == other.keys()
    return sorted(frame for frame in one if not same(one[frame], other[frame]))


# ---- answers


def test_an_answer_covers_all_objects_at_the_size_of_the_video(session: Session) -> None:
    session.prompt("dog", 0, CLICK)
    session.prompt("cat", 3, BOX)

    logits = session.prompt("cat", 0, OTHER_CLICK)

    assert logits.shape == (2, *SIZE)
    assert (logits > ABSENT / 2).all()
    assert not torch.equal(logits[0], logits[1])


def test_an_object_without_a_mask_on_the_frame_is_absent_from_the_answer(session: Session) -> None:
    session.prompt("dog", 0, CLICK)

    dog, cat = session.prompt("cat", 3, BOX)

    torch.testing.assert_close(dog, torch.full(SIZE, ABSENT))
    assert (cat > ABSENT / 2).all()


def test_a_new_prompt_on_a_frame_corrects_the_mask_before_it(session: Session) -> None:
    session.prompt(1, 0, CLICK)
    first = session.tracks[1].at(0)

    session.prompt(1, 0, NOT_THERE)

    features = features_at(0)
    expected = answer_points(model(), features, NOT_THERE, SIZE, previous=first.mask)
    assert same(session.tracks[1].at(0), expected)


def test_points_replace_those_before_them_unless_they_extend_them(session: Session) -> None:
    both = PointPrompt(points=((20, 20), (70, 30)), labels=(1, 0))

    session.prompt(1, 0, CLICK)
    session.prompt(1, 0, NOT_THERE, extend=True)
    assert session.tracks[1].prompts == {0: both}

    session.prompt(1, 0, NOT_THERE)
    assert session.tracks[1].prompts == {0: NOT_THERE}


def test_points_do_not_extend_a_mask(session: Session) -> None:
    session.prompt(1, 0, MASK)
    session.prompt(1, 0, CLICK, extend=True)

    assert session.tracks[1].prompts == {0: CLICK}


# ---- walks


def test_a_walk_starts_at_the_first_conditioning_frame_of_any_object(session: Session) -> None:
    session.prompt("cat", 5, BOX)
    session.prompt("dog", 3, CLICK)

    assert walk(session) == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    ("start", "most", "reverse", "visited"),
    [
        (4, None, False, [4, 5, 6, 7, 8]),
        (4, None, True, [4, 3, 2, 1, 0]),
        (4, 2, False, [4, 5, 6]),  # one more than it says, as published
        (4, 2, True, [4, 3, 2]),
        (4, 0, False, [4]),
        (7, 50, False, [7, 8]),
        (1, 50, True, [1, 0]),
        (0, None, True, []),  # as published
        (9, None, False, []),
    ],
)
def test_a_walk_visits_these_frames(
    session: Session, start: int, most: int | None, reverse: bool, visited: list[int]
) -> None:
    session.prompt(1, 4, CLICK)

    assert walk(session, start, max_frames=most, reverse=reverse) == visited


def test_a_conditioning_frame_gives_back_its_answer(session: Session) -> None:
    answer = session.prompt(1, 2, BOX)
    session.prompt(1, 0, CLICK)

    given = dict(session.propagate())

    assert torch.equal(given[2], answer)


def test_every_frame_of_a_walk_comes_at_the_size_of_the_video(session: Session) -> None:
    session.prompt(1, 0, CLICK)
    session.prompt(2, 4, BOX)

    for frame, logits in session.propagate():
        assert logits.shape == (2, *SIZE)
        assert torch.equal(logits, session.logits(frame))


def test_walking_twice_is_walking_once(session: Session) -> None:
    session.prompt(1, 0, CLICK)
    walk(session)
    once = found(session)

    walk(session)

    assert differing(found(session), once) == []


def test_a_walk_that_goes_on_where_it_stopped_is_one_walk(session: Session) -> None:
    session.prompt(1, 0, CLICK)
    walk(session, max_frames=3)
    walk(session, start=4)
    parts = found(session)

    session.reset()
    session.prompt(1, 0, CLICK)
    walk(session)

    assert differing(parts, found(session)) == []


def test_prompts_on_a_stream_are_remembered_before_it_goes_on(session: Session) -> None:
    stream = Session(model(), Stream(), SIZE)  # type: ignore[arg-type]
    for one in (session, stream):
        one.prompt(1, 0, CLICK)
        one.prompt(2, 5, BOX)

    streamed = dict(zip(range(5, FRAMES), stream.propagate(5), strict=False))

    assert [frame for frame, _ in streamed.values()] == [*range(5, FRAMES)]
    for frame, logits in session.propagate(5):
        assert torch.equal(logits, streamed[frame][1])


@pytest.mark.parametrize("forget", [lambda s: s.remove(1), Session.reset])
def test_a_walk_along_a_stream_ends_once_its_objects_are_gone(
    forget: Callable[[Session], None],
) -> None:
    stream, visited = Session(model(), Stream(), SIZE), []  # type: ignore[arg-type]
    stream.prompt(1, 0, CLICK)

    for frame, _ in islice(stream.propagate(), 10 * FRAMES):
        visited.append(frame)
        if frame == 2:
            forget(stream)

    assert visited == [0, 1, 2]


def test_numbers_of_frames_may_be_numpys(session: Session, tmp_path: Path) -> None:
    session.prompt(1, np.int64(2), CLICK)  # type: ignore[arg-type]
    session.prompt(1, 4, CLICK)
    walk(session, np.int64(2), max_frames=np.int64(3))  # type: ignore[arg-type]
    session.clear_prompt(1, np.int64(4))  # type: ignore[arg-type]

    save_session(session, tmp_path / "session")
    again = Session(model(), ready(pictures(FRAMES)), SIZE)
    load_session(again, tmp_path / "session")
    assert again.tracks[1].prompts == {2: CLICK}
    assert [*again.tracks[1].walked.frames()] == [*session.tracks[1].walked.frames()]


def test_objects_do_not_know_of_each_other(session: Session) -> None:
    session.prompt(1, 0, CLICK)
    walk(session)
    alone = found(session)

    session.prompt(2, 0, BOX)
    session.prompt(3, 5, MASK)
    walk(session)

    assert differing(found(session, 1), alone) == []


def test_an_object_is_followed_before_its_only_prompt_without_any_pointers(
    session: Session,
) -> None:
    session.prompt("late", 4, CLICK)
    read = session.tracks["late"].bank.recall
    session.prompt("dog", 0, BOX)

    frames = walk(session, max_frames=3)

    late = session.tracks["late"]
    assert frames == [0, 1, 2, 3]
    assert [*late.found] == [4, 0, 1, 2, 3]
    assert all(late.found[frame].mask.isfinite().all() for frame in frames)
    # Nothing was tracked yet and the prompt lies ahead: one map is read, and no pointer.
    assert late.bank.recall(0, span=3, pointer_span=6).shape == (1, 0)
    assert read(0, span=3, pointer_span=6).shape == (0, 0)


# ---- corrections


def test_a_correction_is_computed_afresh_by_the_walk_that_passes_it(session: Session) -> None:
    session.prompt(1, 0, CLICK)
    walk(session)
    before = found(session)

    session.prompt(1, 3, NOT_THERE)
    corrected = session.tracks[1].at(3)
    walk(session)

    assert not same(corrected, before[3])
    assert differing(found(session), before) == []
    assert session.tracks[1].prompted == {0}


def test_a_correction_is_read_by_a_walk_that_starts_behind_it(session: Session) -> None:
    session.prompt(1, 0, CLICK)
    walk(session)
    before = found(session)

    session.prompt(1, 3, NOT_THERE)
    corrected = session.tracks[1].at(3)
    walk(session, start=4)

    assert same(session.tracks[1].found[3], corrected)
    assert 4 in differing(found(session), before)


def test_where_corrections_condition_they_stay_and_change_what_follows(
    correcting: Session,
) -> None:
    correcting.prompt(1, 0, CLICK)
    walk(correcting)
    before = found(correcting)

    correcting.prompt(1, 3, NOT_THERE)
    corrected = correcting.tracks[1].at(3)
    walk(correcting)

    assert correcting.tracks[1].prompted == {0, 3}
    assert same(correcting.tracks[1].found[3], corrected)
    assert differing(found(correcting), before) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_correction_of_a_conditioning_frame_is_thrown_away(session: Session) -> None:
    session.prompt(1, 0, CLICK)
    walk(session)
    before = found(session)

    session.prompt(1, 0, NOT_THERE)
    corrected = session.tracks[1].at(0)
    walk(session)

    assert not same(corrected, before[0])
    assert differing(found(session), before) == []


def test_a_prompt_replaced_before_the_walk_counts(session: Session) -> None:
    session.prompt(1, 0, CLICK)
    session.prompt(1, 0, NOT_THERE)
    answer = session.tracks[1].at(0)

    walk(session)

    assert same(session.tracks[1].found[0], answer)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_correction_reads_memory_in_the_direction_of_the_last_walk(
    session: Session, reverse: bool
) -> None:
    session.prompt(1, 4, CLICK)
    walk(session)
    walk(session, start=8, reverse=True)
    if not reverse:
        walk(session, start=4)
    known = session.tracks[1]

    session.prompt(1, 6, NOT_THERE)

    def answer(recalled: Recollection) -> FrameMask:
        step, previous = Step(0, recalled, 6), known.found[6].mask
        return answer_points(model(), features_at(6), NOT_THERE, SIZE, step, previous)

    recalled = {way: known.bank.recall(6, 3, 6, reverse=way) for way in (False, True)}
    assert same(session.tracks[1].at(6), answer(recalled[reverse]))
    assert not same(session.tracks[1].at(6), answer(recalled[not reverse]))


def test_a_correction_of_a_conditioning_frame_reads_its_own_memory(session: Session) -> None:
    session.prompt(1, 4, CLICK)
    walk(session)
    bank = session.tracks[1].bank

    session.prompt(1, 4, NOT_THERE)

    own = bank.recall(4, 3, 6)
    assert (own.ages, own.distances) == ((0,), (0,))
    features = features_at(4)
    expected = answer_points(
        model(), features, NOT_THERE, SIZE, Step(0, own, 6), session.tracks[1].found[4].mask
    )
    assert same(session.tracks[1].at(4), expected)


def test_a_frame_walked_for_one_object_is_new_to_another(session: Session) -> None:
    session.prompt(1, 0, CLICK)
    walk(session)

    session.prompt(2, 3, BOX)
    walk(session, start=3)

    assert session.tracks[2].prompted == {3}


def test_a_prompt_taken_back_leaves_a_tracked_frame(session: Session) -> None:
    session.prompt(1, 0, CLICK)
    session.prompt(1, 4, BOX)
    walk(session)

    session.clear_prompt(1, 4)
    walk(session)

    once = Session(model(), ready(pictures(FRAMES)), SIZE)
    once.prompt(1, 0, CLICK)
    walk(once)
    assert session.tracks[1].prompted == {0}
    assert differing(found(session), found(once)) == []


# ---- what goes wrong


class Faulty(Sequence[Tensor]):
    """Frames of which one cannot be read at the first try."""

    def __init__(self, frames: list[Tensor], broken: int) -> None:
        self.frames = frames
        self.broken: int | None = broken

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Tensor:
        if index == self.broken:
            self.broken = None
            raise OSError("the disk is tired")
        return self.frames[index]


@pytest.fixture
def undisturbed() -> dict[int, FrameMask]:
    session = Session(model(), ready(pictures(FRAMES)), SIZE)
    session.prompt(1, 0, CLICK)
    walk(session)
    return found(session)


@pytest.mark.parametrize("frame", [-1, FRAMES, 1000])
def test_a_prompt_on_a_frame_that_the_video_does_not_have_changes_nothing(
    session: Session, undisturbed: dict[int, FrameMask], frame: int
) -> None:
    session.prompt(1, 0, CLICK)

    with pytest.raises(SessionError, match=f"no frame {frame}: .* frames 0 to 8"):
        session.prompt(1, frame, BOX)
    with pytest.raises(SessionError, match=f"no frame {frame}"):
        session.prompt(2, frame, BOX)

    walk(session)
    assert [*session.tracks] == [1]
    assert differing(found(session), undisturbed) == []


def test_without_prompts_there_is_nothing_to_follow_and_prompts_may_come_after(
    session: Session, undisturbed: dict[int, FrameMask]
) -> None:
    with pytest.raises(SessionError, match="prompt an object on a frame first"):
        walk(session)

    session.prompt(1, 0, CLICK)
    walk(session)
    assert differing(found(session), undisturbed) == []


def test_a_walk_cannot_start_before_the_video(session: Session) -> None:
    session.prompt(1, 0, CLICK)

    with pytest.raises(SessionError, match="no frame -1"):
        walk(session, start=-1)


def test_a_frame_that_cannot_be_read_breaks_the_walk_and_not_the_session(
    undisturbed: dict[int, FrameMask],
) -> None:
    session = Session(model(), Faulty(ready(pictures(FRAMES)), broken=5), SIZE)
    session.prompt(1, 0, CLICK)

    with pytest.raises(OSError, match="tired"):
        walk(session)
    assert sorted(found(session)) == [0, 1, 2, 3, 4]

    walk(session, start=5)
    assert differing(found(session), undisturbed) == []


def test_a_prompt_whose_frame_cannot_be_read_is_not_remembered() -> None:
    session = Session(model(), Faulty(ready(pictures(FRAMES)), broken=5), SIZE)

    with pytest.raises(OSError, match="tired"):
        session.prompt(1, 5, CLICK)

    assert session.tracks == {}


def test_between_frames_the_mode_of_the_caller_is_its_own(session: Session) -> None:
    session.prompt(1, 0, CLICK)
    frames: Iterator[tuple[int, Tensor]] = session.propagate()

    next(frames)

    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
