import copy
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2.components import fill_holes_in_mask_scores
from sam2.inference_state import InferenceState
from sam2.modeling.sam2_base import SAM2Base, Settings
from sam2.prompts import PointPrompt
from sam2.sam2_video_predictor import SAM2VideoPredictor, SAM2VideoPredictorVOS
from sam2.session import ForgottenWarning, Session
from sam2.state_values import StateError
from sam2.tracking import Step, track
from sam2.utils import misc
from tests.sam2.tiny import TINY, pictures, ready, weights

FRAMES = 12
HEIGHT, WIDTH = 48, 64
CLICK: dict[str, Any] = {"points": [[20, 20]], "labels": [1]}
BOX = (10, 10, 40, 30)


def predictor_of(kind: type[SAM2VideoPredictor] = SAM2VideoPredictor, **settings: Any) -> Any:
    predictor = kind(TINY, Settings(**settings))
    predictor.load_state_dict(weights(), strict=True)
    return predictor.eval()


@pytest.fixture
def predictor() -> SAM2VideoPredictor:
    made: SAM2VideoPredictor = predictor_of()
    return made


def clip(frames: int = FRAMES) -> NDArray[np.uint8]:
    return pictures(frames)[:, :HEIGHT]


@pytest.fixture
def state(predictor: SAM2VideoPredictor) -> InferenceState:
    """A video with two prompted objects, not tracked yet."""
    state = predictor.init_state(clip())
    predictor.add_new_points_or_box(state, 0, "dog", **CLICK)
    predictor.add_new_points_or_box(state, 0, 7, box=BOX)
    return state


def walk(predictor: SAM2VideoPredictor, state: Any, **options: Any) -> dict[int, Tensor]:
    return {f: logits for f, _, logits in predictor.propagate_in_video(state, **options)}


def equal(one: dict[int, Tensor], other: dict[int, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[f], other[f]) for f in one)


def tracked(state: InferenceState, index: int = 0) -> Any:
    return state["output_dict_per_obj"][index]["non_cond_frame_outputs"]


# ---- what comes back


def test_every_call_answers_for_all_objects_at_the_videos_size(
    predictor: SAM2VideoPredictor,
) -> None:
    state = predictor.init_state(clip())

    frame, ids, logits = predictor.add_new_points_or_box(state, 3, "dog", **CLICK)
    assert (frame, ids, tuple(logits.shape)) == (3, ["dog"], (1, 1, HEIGHT, WIDTH))
    assert logits.dtype == torch.float32

    _, ids, logits = predictor.add_new_points_or_box(state, 5, 7, box=BOX)
    assert ids == ["dog", 7]
    assert (logits[0] == -1024).all(), "the dog is not known on this frame"
    assert not (logits[1] == -1024).all()


def test_the_face_gives_the_masks_of_the_session_below_it() -> None:
    predictor, frames = predictor_of(), clip()
    state = predictor.init_state(frames)
    predictor.add_new_points(state, frame_idx=2, obj_id=1, points=[[[20, 20]]], labels=[[1]])
    found = walk(predictor, state) | walk(predictor, state, start_frame_idx=2, reverse=True)

    session = Session(predictor, state["images"], (HEIGHT, WIDTH))
    session.prompt(1, 2, PointPrompt(((20, 20),), (1,)))
    expected = dict(session.propagate()) | dict(session.propagate(2, reverse=True))

    assert equal(found, {f: logits[:, None] for f, logits in expected.items()})


@pytest.mark.parametrize(
    "box", [BOX, [BOX], np.array([BOX]), torch.tensor(BOX).view(2, 2)], ids=str
)
def test_a_box_may_have_any_shape(predictor: SAM2VideoPredictor, box: Any) -> None:
    state = predictor.init_state(clip())
    _, _, expected = predictor.add_new_points_or_box(state, 0, 1, box=BOX)

    _, _, logits = predictor.add_new_points_or_box(predictor.init_state(clip()), 0, 1, box=box)

    assert torch.equal(logits, expected)


def test_coordinates_may_be_shares_of_the_picture(predictor: SAM2VideoPredictor) -> None:
    def answer(points: Any, box: Any, **options: Any) -> Tensor:
        state = predictor.init_state(clip())
        return predictor.add_new_points_or_box(
            state, 0, 1, points=points, labels=[1], box=box, **options
        )[2]

    pixels = answer([[16, 12]], [8, 12, 32, 24])
    shares = answer([[0.25, 0.25]], [0.125, 0.25, 0.5, 0.5], normalize_coords=False)

    assert torch.equal(pixels, shares)


def test_points_are_replaced_or_added_to(predictor: SAM2VideoPredictor) -> None:
    state = predictor.init_state(clip())
    predictor.add_new_points(state, 0, 1, [[20, 20]], [1])
    predictor.add_new_points(state, 0, 1, [[50, 30]], [0], clear_old_points=False)
    assert state["point_inputs_per_obj"][0][0]["point_labels"].tolist() == [[1, 0]]

    predictor.add_new_points(state, 0, 1, [[30, 30]], [1])
    assert state["point_inputs_per_obj"][0][0]["point_coords"].tolist() == [[[30, 40]]]

    predictor.add_new_mask(state, 0, 1, np.ones((HEIGHT, WIDTH), bool))
    assert state["point_inputs_per_obj"][0] == {}
    assert state["mask_inputs_per_obj"][0][0].shape == (1, 1, TINY.image_size, TINY.image_size)


def test_walks_go_where_the_published_ones_go(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    assert [*walk(predictor, state)] == [*range(FRAMES)]
    assert [*walk(predictor, state, start_frame_idx=3, max_frame_num_to_track=2)] == [3, 4, 5]
    assert [*walk(predictor, state, start_frame_idx=2, reverse=True)] == [2, 1, 0]
    assert [*walk(predictor, state, start_frame_idx=0, reverse=True)] == []
    assert [*walk(predictor, state, start_frame_idx=FRAMES)] == []
    for start in ({"start_frame_idx": -1}, {"start_frame_idx": FRAMES, "reverse": True}):
        with pytest.raises(IndexError, match="frames 0 to 11"):
            walk(predictor, state, **start)


def test_an_object_that_joins_during_a_walk_is_followed_from_the_next_one(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    for frame, ids, logits in predictor.propagate_in_video(state):
        if frame == 3:
            predictor.add_new_points_or_box(state, 5, "late", **CLICK)
        assert ids == ["dog", 7]
        assert len(logits) == 2

    *_, (_, ids, logits) = predictor.propagate_in_video(state, start_frame_idx=5)
    assert ids == ["dog", 7, "late"]
    assert len(logits) == 3


def test_returned_masks_can_be_made_not_to_overlap() -> None:
    apart, free = (predictor_of(non_overlap_masks=on) for on in (True, False))
    found = []
    for predictor in (apart, free):
        state = predictor.init_state(clip())
        for object_id in range(3):
            predictor.add_new_mask(state, 0, object_id, np.ones((HEIGHT, WIDTH), bool))
        found.append((walk(predictor, state), state))
    (exclusive, one), (overlapping, other) = found

    assert any(((logits > 0).sum(dim=0) > 1).any() for logits in overlapping.values())
    assert all(((logits > 0).sum(dim=0) <= 1).all() for logits in exclusive.values())
    for frame in range(1, FRAMES):  # memory is not touched
        assert torch.equal(tracked(one)[frame]["pred_masks"], tracked(other)[frame]["pred_masks"])


def test_small_holes_are_filled_in_what_is_stored_but_not_in_tracked_memories() -> None:
    filling, plain = (predictor_of(fill_hole_area=area) for area in (4, 0))
    stored = []
    for predictor in (filling, plain):
        state = predictor.init_state(clip())
        mask = np.ones((TINY.mask_size, TINY.mask_size), bool)
        mask[4:6, 4:6] = False
        predictor.add_new_mask(state, 0, 1, mask)
        prompted = state["temp_output_dict_per_obj"][0]["cond_frame_outputs"][0]["pred_masks"]
        walk(predictor, state, max_frame_num_to_track=3)
        known = state.session.tracks[1]
        walk(predictor, state, start_frame_idx=4)
        stored.append((prompted, tracked(state)[4], known))
    (filled, after, known), (open_, _, _) = stored

    assert torch.equal(filled, fill_holes_in_mask_scores(open_, 4))
    assert not torch.equal(filled, open_)
    recalled = known.bank.recall(4, TINY.memory_span, TINY.pointer_span)
    with torch.inference_mode():
        features = filling.encode(state["images"][4][None])
        ((found, memory),) = track(filling, features, [Step(0, recalled, TINY.pointer_span)])
    assert not torch.equal(after["pred_masks"][0, 0], found.mask)
    assert torch.equal(after["pred_masks"], fill_holes_in_mask_scores(found.mask[None, None], 4))
    assert torch.equal(after["maskmem_features"][0], memory)


def test_settings_may_be_changed_on_the_model_at_any_time(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    walk(predictor, state)
    predictor.add_new_points(state, 4, "dog", [[30, 20]], [1])
    assert 4 not in state["temp_output_dict_per_obj"][0]["cond_frame_outputs"]

    predictor.add_all_frames_to_correct_as_cond = True
    predictor.add_new_points(state, 4, "dog", [[30, 20]], [1])
    assert 4 in state["temp_output_dict_per_obj"][0]["cond_frame_outputs"]


# ---- objects and prompts that go again


def test_a_prompt_can_be_taken_back(predictor: SAM2VideoPredictor) -> None:
    state = predictor.init_state(clip())
    predictor.add_new_points(state, 2, 1, [[20, 20]], [1])
    predictor.add_new_points(state, 4, 1, [[40, 20]], [1])

    frame, ids, logits = predictor.clear_all_prompts_in_frame(state, 4, 1)

    assert (frame, ids) == (4, [1])
    assert (logits == -1024).all()
    assert [*state["point_inputs_per_obj"][0]] == [2]
    assert predictor.clear_all_prompts_in_frame(state, 2, 1, need_output=False) is None
    with pytest.raises(RuntimeError, match="Object 1 has no prompt left"):
        walk(predictor, state)


def test_a_tracked_frame_whose_prompt_is_taken_back_stays_as_a_tracked_one(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    predictor.add_new_points(state, 4, "dog", [[30, 20]], [1])
    walk(predictor, state)

    predictor.clear_all_prompts_in_frame(state, 4, "dog")

    assert [*state["output_dict_per_obj"][0]["cond_frame_outputs"]] == [0]
    assert 4 in tracked(state)
    assert 4 not in state["frames_tracked_per_obj"][0]
    assert 4 in state["frames_tracked_per_obj"][1]


def test_removing_an_object_moves_the_later_ones_down(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    before = walk(predictor, state)

    ids, shown = predictor.remove_object(state, "dog")

    assert ids == [7] == state["obj_ids"]
    assert state["obj_id_to_idx"] == {7: 0}
    assert [frame for frame, _ in shown] == [0]
    assert torch.equal(shown[0][1], before[0][1:])
    after = walk(predictor, state)
    assert equal(after, {frame: logits[1:] for frame, logits in before.items()})


def test_removing_an_unknown_object_changes_nothing(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    assert predictor.remove_object(state, "cat") == (["dog", 7], [])
    with pytest.raises(RuntimeError, match="cat"):
        predictor.remove_object(state, "cat", strict=True)
    assert predictor.remove_object(state, "dog", need_output=False) == ([7], [])
    assert predictor.remove_object(state, 7) == ([], [])


def test_a_state_can_be_used_anew_after_reset(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    first = walk(predictor, state)

    predictor.reset_state(state)
    assert state["obj_ids"] == []
    predictor.add_new_points_or_box(state, 0, "dog", **CLICK)
    predictor.add_new_points_or_box(state, 0, 7, box=BOX)

    assert equal(walk(predictor, state), first)


# ---- mistakes


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"points": [[1, 2]]}, ValueError, "together with labels"),
        ({"labels": [1]}, ValueError, "together with labels"),
        ({}, ValueError, "nothing to go by"),
        ({"box": BOX, "clear_old_points": False}, ValueError, "clear_old_points=True"),
        ({"points": [[1, 2], [3, 4]], "labels": [1]}, ValueError, "one label for each"),
        ({"points": [[[1, 2]], [[3, 4]]], "labels": [[1], [1]]}, ValueError, "2 objects"),
        ({"points": [[1, 2]], "labels": [9]}, ValueError, "label"),
        ({"box": [1, 2, 3]}, ValueError, "box"),
        ({"frame_idx": FRAMES, **CLICK}, IndexError, "frames 0 to 11"),
        ({"frame_idx": -1, **CLICK}, IndexError, "frames 0 to 11"),
    ],
)
def test_a_wrong_prompt_says_what_to_pass_and_leaves_no_trace(
    predictor: SAM2VideoPredictor,
    arguments: dict[str, Any],
    kind: type[Exception],
    message: str,
) -> None:
    state = predictor.init_state(clip())
    with pytest.raises(kind, match=message):
        predictor.add_new_points_or_box(state, **{"frame_idx": 0, "obj_id": 1, **arguments})

    assert state["obj_ids"] == []
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    assert len(walk(predictor, state)) == FRAMES


@pytest.mark.parametrize(
    "form",
    [
        lambda mask: mask[:, ::-1].copy()[:, ::-1],  # mirrored
        lambda mask: np.asfortranarray(mask),
        lambda mask: mask.astype(np.float64) * 255,
        lambda mask: mask.tolist(),
        lambda mask: torch.from_numpy(mask),
    ],
)
def test_a_mask_may_have_any_form(
    predictor: SAM2VideoPredictor, form: Callable[[NDArray[np.bool_]], Any]
) -> None:
    mask = np.tri(HEIGHT, WIDTH, dtype=bool)
    _, _, expected = predictor.add_new_mask(predictor.init_state(clip()), 0, 1, mask)

    _, _, logits = predictor.add_new_mask(predictor.init_state(clip()), 0, 1, form(mask))

    assert torch.equal(logits, expected)


def test_a_mask_with_three_axes_is_refused(predictor: SAM2VideoPredictor) -> None:
    state = predictor.init_state(clip())
    with pytest.raises(AssertionError, match=r"\(1, 48, 64\)"):
        predictor.add_new_mask(state, 0, 1, np.ones((1, HEIGHT, WIDTH), bool))


def test_there_must_be_something_to_follow(predictor: SAM2VideoPredictor) -> None:
    state = predictor.init_state(clip())
    walker = predictor.propagate_in_video(state)  # not yet: nothing happens before the first step
    with pytest.raises(RuntimeError, match="prompt an object"):
        next(walker)
    with pytest.raises(RuntimeError, match="prompt an object"):
        predictor.propagate_in_video_preflight(state)


# ---- the state, as scripts use it


def test_the_state_answers_by_the_published_keys(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    walk(predictor, state)

    assert (state["video_height"], state["video_width"]) == (HEIGHT, WIDTH)
    assert state["num_frames"] == len(state["images"]) == FRAMES
    assert state["images"][-1].shape == (3, TINY.image_size, TINY.image_size)
    assert state["obj_ids"] == ["dog", 7]
    assert state["obj_idx_to_id"] == {0: "dog", 1: 7}
    assert state["device"] == state["storage_device"] == torch.device("cpu")
    assert state["frames_tracked_per_obj"][1][5] == {"reverse": False}
    assert [*state["cached_features"]] == [FRAMES - 1]
    assert state["constants"] == {}
    entry = tracked(state)[5]
    assert {key: tuple(v.shape) for key, v in entry.items() if isinstance(v, Tensor)} == {
        "maskmem_features": (1, 16, 4, 4),
        "pred_masks": (1, 1, 16, 16),
        "obj_ptr": (1, 32),
        "object_score_logits": (1, 1),
    }
    assert entry["maskmem_features"].dtype == torch.bfloat16
    with pytest.raises(KeyError):
        state["output_dict"]  # of the older predictor


def test_a_script_may_put_its_own_frames_in(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    class Lazy:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, index: int) -> Tensor:
            return ready(pictures(5, seed=1))[index]

    before = walk(predictor, state)
    state["images"], state["num_frames"] = Lazy(), 5
    state["cached_features"] = {}

    after = walk(predictor, state)

    assert [*after] == [*range(5)]
    assert not torch.equal(after[4], before[4])


def test_deleting_old_outputs_frees_them_and_is_noticed_by_the_next_frames(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    undisturbed = walk(predictor, state)
    for outputs in state["output_dict_per_obj"].values():
        kept = outputs["non_cond_frame_outputs"]
        for frame in [f for f in kept if f < FRAMES - 2]:
            kept.pop(frame)

    assert [*tracked(state)] == [FRAMES - 2, FRAMES - 1]
    known = state.session.tracks["dog"]
    assert {m.frame for m in known.bank.tracked} == {FRAMES - 2, FRAMES - 1}
    assert known.found.keys() == {0, FRAMES - 2, FRAMES - 1}
    last = walk(predictor, state, start_frame_idx=FRAMES - 1)[FRAMES - 1]
    assert not torch.equal(last, undisturbed[FRAMES - 1])


def test_deleting_a_conditioning_output_makes_its_frame_like_any_other(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    predictor.add_new_points(state, 4, "dog", [[30, 20]], [1])
    walk(predictor, state)

    del state["output_dict_per_obj"][0]["cond_frame_outputs"][0]

    assert [*state["output_dict_per_obj"][0]["cond_frame_outputs"]] == [4]
    assert 0 in walk(predictor, state)


def test_where_all_memories_around_are_gone_a_click_is_answered_without_them(
    predictor: SAM2VideoPredictor,
) -> None:
    state = predictor.init_state(clip(40), keep_history=0)
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    for frame, _, _ in predictor.propagate_in_video(state):
        if frame == 39:
            del state["output_dict_per_obj"][0]["cond_frame_outputs"][0]

    _, _, logits = predictor.add_new_points_or_box(state, 20, 1, **CLICK)

    fresh = predictor.init_state(clip(40))
    _, _, alone = predictor.add_new_points_or_box(fresh, 20, 1, **CLICK)
    assert torch.equal(logits, alone)
    with pytest.raises(RuntimeError, match="has no prompt left"):
        walk(predictor, state)


def test_an_object_whose_memories_are_deleted_during_a_walk_cannot_be_followed_on(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    walker = predictor.propagate_in_video(state)
    next(walker)
    del state["output_dict_per_obj"][1]["cond_frame_outputs"][0]

    with pytest.raises(RuntimeError, match="Object 7 has nothing left that frame 1"):
        next(walker)


def test_outputs_that_are_all_dropped_leave_a_state_to_begin_anew(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    first = walk(predictor, state)
    state["output_dict_per_obj"].clear()
    state["temp_output_dict_per_obj"].clear()

    predictor.add_new_points_or_box(state, 0, "dog", **CLICK)
    predictor.add_new_points_or_box(state, 0, 7, box=BOX)

    assert equal(walk(predictor, state), first)


def test_what_cannot_be_written_says_so(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    walk(predictor, state)

    with pytest.raises(TypeError, match="reset_state"):
        state["obj_ids"] = []
    for write in (
        lambda: state["obj_ids"].append("cat"),
        lambda: state["obj_ids"].remove("dog"),
        lambda: state["obj_id_to_idx"].pop("dog"),
        lambda: state["obj_id_to_idx"].update(cat=2),
        lambda: state["obj_idx_to_id"].setdefault(2, "cat"),
        lambda: state["point_inputs_per_obj"][0].pop(0),
        lambda: state["point_inputs_per_obj"][0][0].clear(),
        lambda: state["mask_inputs_per_obj"][0].setdefault(0, None),
        lambda: state["frames_tracked_per_obj"][0].clear(),
        lambda: state["output_dict_per_obj"][0].clear(),
        lambda: state["cached_features"].update({0: None}),
    ):
        with pytest.raises(StateError, match=r"predictor|made when needed"):
            write()
    with pytest.raises(TypeError):
        state["frames_tracked_per_obj"][0] = {}
    with pytest.raises(TypeError, match="save_state"):
        tracked(state)[3] = {}
    with pytest.raises(TypeError):
        tracked(state)[3]["maskmem_features"] = None
    state["my_notes"] = "kept"
    assert state["my_notes"] == "kept"


def test_what_the_state_gives_can_be_copied_and_the_copies_changed(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    walk(predictor, state)

    ids, places = copy.deepcopy(state["obj_ids"]), copy.copy(state["obj_id_to_idx"])
    ids.append("cat")
    places["cat"] = 2

    assert ids == ["dog", 7, "cat"]
    assert json.loads(json.dumps(state["obj_ids"])) == state["obj_ids"] == ["dog", 7]
    assert state["obj_id_to_idx"] == {"dog": 0, 7: 1}


@pytest.mark.parametrize("key", ["obj_ids", "obj_id_to_idx", "obj_idx_to_id"])
def test_features_and_objects_can_be_dropped_by_their_keys(
    predictor: SAM2VideoPredictor, state: InferenceState, key: str
) -> None:
    assert [*state["cached_features"]] == [0]
    state["cached_features"].pop(0)
    assert not state["cached_features"]

    state[key].clear()

    assert not state[key]
    assert predictor._get_obj_num(state) == 0


def test_programs_may_clear_whatever_they_find(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    walk(predictor, state)

    for value in state.values():
        if hasattr(value, "clear"):
            value.clear()

    assert predictor._get_obj_num(state) == 0
    assert not state["point_inputs_per_obj"]
    assert not state["cached_features"]


def test_dropping_everything_drops_everything(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    walk(predictor, state)
    state["output_dict_per_obj"].clear()
    assert not tracked(state)

    state.clear()

    assert state["obj_ids"] == []
    assert len(state["images"]) == 0
    assert not state["cached_features"]


def test_a_dict_made_by_hand_works_like_a_state(predictor: SAM2VideoPredictor) -> None:
    state: dict[str, Any] = {
        "images": torch.stack(ready(pictures(FRAMES))),
        "num_frames": FRAMES,
        "video_height": HEIGHT,
        "video_width": WIDTH,
        "cached_features": {},
        "obj_ids": [],
        "storage_device": "cpu:0",
    }
    image, _, maps, _, sizes = predictor._get_image_feature(state, 0, batch_size=2)
    assert state["obj_ids"] == []
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    assert (state["obj_ids"], state["obj_id_to_idx"]) == ([1], {1: 0})
    assert [*state["point_inputs_per_obj"][0]] == [0]

    assert image.shape == (2, 3, 64, 64)
    assert [m.shape for m in maps] == [(256, 2, 4), (64, 2, 8), (16, 2, 32)]
    assert sizes == [(16, 16), (8, 8), (4, 4)]
    assert len(walk(predictor, state)) == FRAMES
    assert [*state["frames_tracked_per_obj"][0]] == [*range(FRAMES)]
    assert state["storage_device"] == "cpu:0"  # the program's choice, and not the model's device
    assert [*tracked(state)] == [*range(1, FRAMES)]  # type: ignore[arg-type]
    predictor.add_new_mask(state, 0, 2, np.ones((HEIGHT, WIDTH), bool))
    assert [*state["mask_inputs_per_obj"][1]] == [0]
    predictor.remove_object(state, 1)
    assert (state["obj_ids"], state["obj_idx_to_id"]) == ([2], {0: 2})
    predictor.clear_all_prompts_in_frame(state, 0, "new")
    assert state["obj_ids"] == [2, "new"]
    for value in state.values():  # as programs do at their end
        if isinstance(value, dict | list):
            value.clear()
    assert predictor._get_obj_num(state) == 0
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    predictor.reset_state(state)
    assert (state["obj_ids"], state["obj_id_to_idx"]) == ([], {})


def test_private_helpers_that_scripts_call(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    assert predictor._get_obj_num(state) == 2
    assert predictor._obj_id_to_idx(state, 7) == 1
    assert predictor._obj_id_to_idx(state, "new") == 2
    low, full = predictor._get_orig_video_res_output(state, torch.ones(2, 1, 16, 16))
    assert low.shape == (2, 1, 16, 16)
    assert full.shape == (2, 1, HEIGHT, WIDTH)
    logits = torch.tensor([1.0, 3.0, -20.0]).view(3, 1, 1, 1)
    only = predictor._apply_non_overlapping_constraints(logits)
    assert only.flatten().tolist() == [-10, 3, -20]


# ---- memory, streams and files


def test_by_default_memory_stops_growing_and_the_walks_are_the_same(
    predictor: SAM2VideoPredictor,
) -> None:
    found = []
    for keep in (0, True):
        state = predictor.init_state(clip(40), keep_history=keep)
        predictor.add_new_points_or_box(state, 15, 1, **CLICK)
        masks = [walk(predictor, state)]
        masks.append(walk(predictor, state, start_frame_idx=15, reverse=True))
        masks.append(walk(predictor, state, max_frame_num_to_track=4))
        masks.append(walk(predictor, state, start_frame_idx=19))
        found.append((masks, len(tracked(state))))
    (short, few), (long, all_of_them) = found

    assert all(equal(one, other) for one, other in zip(short, long, strict=True))
    assert all_of_them == 39
    assert few < 20  # near the prompt, and near the end of the last walk


@pytest.mark.parametrize("reverse", [False, True])
def test_a_walk_from_where_an_object_has_forgotten_warns_of_it(
    predictor: SAM2VideoPredictor, reverse: bool
) -> None:
    def add_later(keep: bool | int) -> dict[int, Tensor]:
        state = predictor.init_state(clip(40), keep_history=keep)
        predictor.add_new_points_or_box(state, 0, "early", **CLICK)
        walk(predictor, state)
        predictor.add_new_points_or_box(state, 20, "late", box=BOX)
        options = {"start_frame_idx": 20, "max_frame_num_to_track": 3, "reverse": reverse}
        return walk(predictor, state, **options)

    remembered = add_later(keep=True)
    with pytest.warns(ForgottenWarning, match=r"'early' .* frame 20 .* keep_history=True") as told:
        forgotten = add_later(keep=0)

    assert len(told) == 1
    assert not torch.equal(forgotten[20][0], remembered[20][0])
    assert torch.equal(forgotten[20][1], remembered[20][1])


def test_a_program_that_deletes_outputs_itself_is_not_warned(
    predictor: SAM2VideoPredictor, state: InferenceState
) -> None:
    for frame, _, _ in predictor.propagate_in_video(state):
        tracked(state).pop(frame - 2, None)

    assert [*walk(predictor, state, start_frame_idx=6)] == [*range(6, FRAMES)]


def test_a_stream_gives_masks_as_its_frames_come(predictor: SAM2VideoPredictor) -> None:
    taken: list[int] = []

    def camera() -> Iterator[NDArray[np.uint8]]:
        for index, picture in enumerate(clip(30)):
            taken.append(index)
            yield picture

    state = predictor.init_state(camera())
    predictor.add_new_points_or_box(state, 0, 1, **CLICK)
    streamed = {}
    for frame, _, logits in predictor.propagate_in_video(state):
        assert taken[-1] == frame
        assert state["num_frames"] == frame + 1
        streamed[frame] = logits

    whole = predictor.init_state(clip(30))
    predictor.add_new_points_or_box(whole, 0, 1, **CLICK)
    assert equal(streamed, walk(predictor, whole))
    with pytest.raises(IndexError, match="it had 30 frames"):
        predictor.add_new_points_or_box(state, 30, 1, **CLICK)
    with pytest.raises(RuntimeError, match="start_frame_idx"):
        walk(predictor, state)


def test_a_deep_copy_of_a_state_goes_on_by_itself(predictor: SAM2VideoPredictor) -> None:
    state = predictor.init_state(clip(), async_loading_frames=True)
    predictor.add_new_points_or_box(state, 0, "dog", **CLICK)
    state["my_notes"] = ["kept"]
    walk(predictor, state, max_frame_num_to_track=4)

    copied = copy.deepcopy(state)
    predictor.add_new_points_or_box(copied, 5, "cat", box=BOX)
    copied["my_notes"].append("changed")
    both = walk(predictor, copied, start_frame_idx=5)

    assert copied.session.model is predictor
    assert copied["images"] is state["images"]
    assert (copied["obj_ids"], state["obj_ids"]) == (["dog", "cat"], ["dog"])
    assert [*tracked(copied)] == [*range(1, FRAMES)]
    assert ([*tracked(state)], state["my_notes"]) == ([1, 2, 3, 4], ["kept"])
    alone = walk(predictor, state, start_frame_idx=5)
    assert equal(alone, {frame: logits[:1] for frame, logits in both.items()})


def test_a_saved_state_goes_on_to_the_bit(
    predictor: SAM2VideoPredictor, state: InferenceState, tmp_path: Path
) -> None:
    predictor.add_new_mask(state, 2, "dog", np.ones((9, 9), bool))
    walk(predictor, state, max_frame_num_to_track=5)
    predictor.add_new_points_or_box(state, 3, 7, **CLICK)  # a correction, not remembered yet
    path = tmp_path / "state.safetensors"
    predictor.save_state(state, path)

    loaded = predictor_of().load_state(path, clip())

    assert loaded["obj_ids"] == ["dog", 7]
    assert loaded["frames_tracked_per_obj"] == state["frames_tracked_per_obj"]
    for options in ({"start_frame_idx": 4}, {"start_frame_idx": 2, "reverse": True}):
        one, other = (walk(predictor, s, **options) for s in (state, loaded))
        assert equal(one, other)
    loaded.session.prompt("dog", 6, PointPrompt(box=(1, 1, 30, 30)))


def test_a_state_is_only_loaded_where_it_fits(
    predictor: SAM2VideoPredictor, state: InferenceState, tmp_path: Path
) -> None:
    path = tmp_path / "state.safetensors"
    predictor.save_state(state, path)

    with pytest.raises(ValueError, match="another video"):
        predictor.load_state(path, clip(FRAMES - 1))
    other = predictor_of()
    with torch.no_grad():
        other.no_mem_embed += 1
    with pytest.raises(ValueError, match="another model"):
        other.load_state(path, clip())
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match="damaged"):
        predictor.load_state(path, clip())
    predictor.add_new_points_or_box(state, 0, ("a", "tuple"), **CLICK)
    with pytest.raises(ValueError, match="numbers and strings"):
        predictor.save_state(state, path)


# ---- round about


@pytest.mark.parametrize("inference", [True, False])
def test_it_works_inside_and_outside_of_the_callers_contexts(inference: bool) -> None:
    predictor = predictor_of()
    with torch.inference_mode(inference), torch.autocast("cpu", dtype=torch.bfloat16):
        state = predictor.init_state(clip())
        predictor.add_new_points_or_box(state, 0, 1, **CLICK)
        predictor.add_new_mask(state, 0, 2, np.ones((HEIGHT, WIDTH), bool))
        found = walk(predictor, state)
    found |= walk(predictor, state, start_frame_idx=5)  # and with what was remembered there

    assert all(logits.dtype == torch.float32 for logits in found.values())
    assert not any(logits.requires_grad for logits in found.values())


def test_offloading_changes_nothing(predictor: SAM2VideoPredictor) -> None:
    found = []
    for offload in (True, False):
        state = predictor.init_state(clip(), offload, offload, async_loading_frames=offload)
        predictor.add_new_points_or_box(state, 0, 1, **CLICK)
        found.append(walk(predictor, state))

    assert equal(*found)


def test_the_loader_may_be_replaced_by_a_program(
    predictor: SAM2VideoPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def loader(**arguments: Any) -> tuple[list[Tensor], int, int]:
        seen.update(arguments)
        return ready(pictures(3)), 30, 40

    monkeypatch.setattr(misc, "load_video_frames", loader)
    state = predictor.init_state(("any", "thing"))  # type: ignore[arg-type]

    assert seen == {
        "video_path": ("any", "thing"),
        "image_size": 64,
        "offload_video_to_cpu": False,
        "async_loading_frames": False,
        "compute_device": torch.device("cpu"),
    }
    assert (state["num_frames"], state["video_height"], state["video_width"]) == (3, 30, 40)


def test_a_loader_that_was_there_when_the_predictor_was_imported_stays_in_use(
    predictor: SAM2VideoPredictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[Tensor] = ready(pictures(3))
    name = "sam2.sam2_video_predictor.load_video_frames"
    monkeypatch.setattr(name, lambda **arguments: (bound, 30, 40))

    assert predictor.init_state("anything")["images"] is bound


def test_far_prompted_frames_are_left_out_when_the_setting_says_so() -> None:
    limited, free = predictor_of(max_cond_frames_in_attn=2), predictor_of()
    found = []
    for predictor in (limited, free):
        state = predictor.init_state(clip())
        for frame in (0, 3, 8):
            predictor.add_new_points_or_box(state, frame, 1, **CLICK)
        found.append(walk(predictor, state))

    assert torch.equal(found[0][0], found[1][0])
    assert not torch.equal(found[0][4], found[1][4])


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of torch's own parts
def test_the_compiled_predictor_has_the_same_weights(capsys: pytest.CaptureFixture[str]) -> None:
    model = predictor_of(SAM2VideoPredictorVOS)

    assert isinstance(model, SAM2Base)
    loaded, expected = model.state_dict(), weights()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[key], expected[key]) for key in expected)
    assert "compiled" in capsys.readouterr().out


def test_a_file_object_and_a_path_are_the_same_video(predictor: SAM2VideoPredictor) -> None:
    path = Path(__file__).parents[2] / "examples" / "demo" / "demo.mp4"
    one, other = (predictor.init_state(v) for v in (str(path), io.BytesIO(path.read_bytes())))

    assert (one["num_frames"], one["video_height"], one["video_width"]) == (48, 384, 640)
    assert torch.equal(one["images"][7], other["images"][7])
