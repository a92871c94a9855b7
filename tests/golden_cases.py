"""Runs a golden case through the model and measures how far each of its arrays is off."""

import importlib.util
import json
from collections import ChainMap
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.config import Precision, model_config
from sam2.images import from_still, from_video_picture, normalise
from sam2.inference_state import InferenceState
from sam2.layers import as_map
from sam2.model import Sam2
from sam2.modeling.sam2_base import SAM2Base, Settings
from sam2.precision import set_precision
from sam2.prompts import MaskPrompt, PointPrompt
from sam2.sam2_image_predictor import SAM2ImagePredictor
from sam2.sam2_video_predictor import SAM2VideoPredictor
from sam2.session import Session, Track, upscale
from tests.sam2.stills import segment_still, stack_prompts

# Largest difference allowed, beyond the rounding of the arrays that are kept as float16.
TOLERANCES = {"low": 1e-3, "full": 1e-3, "low4": 1e-3, "score": 3e-4, "ptr": 3e-4, "iou": 5e-5}
TOLERANCES |= {"embed_slice": 1e-3, "highres0_slice": 1e-3, "highres1_slice": 1e-3}
TOLERANCES |= {"input_slice": 1e-5, "frames": 0.5}
TOLERANCES |= {"bbox_xywh": 1e-3, "crop_xywh": 1e-3, "points": 1e-3, "area": 1}
TOLERANCES |= {"predicted_iou": 5e-5, "stability": 1e-3}  # one pixel of a thousand
DIFFERING_PIXELS = 10  # of one array: a handful, where logits are zero but for rounding


@dataclass(frozen=True)
class Difference:
    """How far one array of a case is off, in the unit of its tolerance."""

    array: str
    largest: float
    tolerance: float

    @property
    def within(self) -> bool:
        return self.largest <= self.tolerance


def case_names(shared: Path, kinds: tuple[str, ...] = ("amg", "image", "video")) -> list[str]:
    return sorted(
        p.stem for p in (shared / "golden" / "cases").glob("*.json") if p.stem.startswith(kinds)
    )


def run_case(
    shared: Path,
    name: str,
    face: bool = False,
    device: str = "cpu",
    precision: Precision = "exact",
) -> list[Difference]:
    """The differences of all arrays of one case, arrays of several steps taken together.

    With `face` videos go through the published video predictor, which takes as long again. On other
    devices than a CPU only videos run, and not through it.
    """
    golden = shared / "golden"
    case = json.loads((golden / "cases" / f"{name}.json").read_text())
    model = set_precision(_model(golden, case).to(device), precision)
    differences: dict[str, Difference] = {}
    with np.load(golden / "cases" / f"{name}.npz") as arrays, torch.inference_mode():
        ways = {
            "amg": [_automatic_arrays],
            "image": [_still_arrays, _predictor_arrays],
            "video": [_video_predictor_arrays if face else _video_arrays],
        }[case["kind"]]
        for key, ours in chain.from_iterable(way(golden, case, model) for way in ways):
            difference = _compare(key, ours, arrays[key])
            worst = differences.get(difference.array, difference)
            differences[difference.array] = max(
                worst, difference, key=lambda d: d.largest / d.tolerance
            )
    return list(differences.values())


def _compare(key: str, ours: Tensor, theirs: np.ndarray) -> Difference:
    kind = key.split("_", 1)[1] if key[0] == "s" and key[1].isdigit() else key
    kind = "full" if kind.startswith("full") else kind
    mine = ours.cpu().numpy()
    if (
        kind == "iou" and theirs.shape != mine.shape
    ):  # of all candidates, where ours is the chosen one
        theirs = np.nan_to_num(theirs, nan=-1).max(axis=-1)
        mine = np.where(theirs < 0, theirs, mine)  # a stored answer was given back: no decoder ran
    if kind.endswith("bits"):
        theirs = np.unpackbits(theirs, axis=-1)[..., : mine.shape[-1]].astype(bool)
        assert mine.shape == theirs.shape, key
        return Difference(kind + " (pixels)", float((mine != theirs).sum()), DIFFERING_PIXELS)
    assert mine.shape == theirs.shape, key
    off = np.abs(mine - theirs.astype(np.float32))
    if theirs.dtype == np.float16:
        off = off - np.spacing(np.abs(theirs)).astype(np.float32) / 2
    return Difference(kind, float(off.max(initial=0)), TOLERANCES[kind])


@cache
def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def golden_state_dict(golden: Path, keys: str, **settings: Any) -> dict[str, Tensor]:
    """Deterministic weights with the keys and shapes of a published checkpoint."""
    state = _module(golden / "weights.py").make_state_dict(
        golden / "keys" / f"{keys}.json", **settings
    )
    return {key: torch.from_numpy(value) for key, value in state.items()}


def _model(golden: Path, case: Mapping[str, Any]) -> Sam2:
    family, size = case["model"].split("_hiera_")
    model = Sam2(model_config(f"{family}-{size.replace('_', '-')}"))
    weights = golden_state_dict(
        golden,
        case["model"],
        seed=case["weight_seed"],
        shift=case["weight_shift"],
        scale=case["weight_scale"],
    )
    model.load_state_dict(weights, strict=True)
    return model.eval()


def _points(step: Mapping[str, Any]) -> PointPrompt:
    box = step.get("box")
    points = tuple(map(tuple, step.get("points") or ()))
    return PointPrompt(points, tuple(step.get("labels") or ()), tuple(box) if box else None)


def _picture(golden: Path, case: Mapping[str, Any]) -> np.ndarray:
    clip = case["clip"]
    make_frame = _module(golden / "frames.py").make_frame
    return make_frame(clip["frame"], clip["height"], clip["width"], clip["seed"])


# ---- stills


def _still_arrays(
    golden: Path, case: Mapping[str, Any], model: Sam2
) -> Iterator[tuple[str, Tensor]]:
    picture = torch.from_numpy(_picture(golden, case))
    height, width = picture.shape[:2]
    image = normalise(from_still(picture.permute(2, 0, 1), model.config.image_size)[None])
    features = model.encode(image)
    if case["name"] == "image_21t":
        yield "input_slice", image[0, :, ::32, ::32]
        embedding = as_map(model.without_memory(features), model.config.grid)
        yield "embed_slice", embedding[0, ::8, ::4, ::4]
        yield "highres0_slice", features.fine[0, ::4, ::16, ::16]
        yield "highres1_slice", features.middle[0, ::8, ::8, ::8]
    returned: list[Tensor] = []
    for number, step in enumerate(case["steps"]):
        prompts = _still_prompts(step)
        source = step.get("mask_from")
        previous = returned[source["step"]][0, source["index"]][None, None] if source else None
        masks, ious = segment_still(
            model,
            features,
            stack_prompts(prompts, height, width, model) if prompts else None,
            previous,
            step["multimask"],
        )
        returned.append(masks.clamp(-32, 32))
        full = torch.stack([upscale(m, (height, width)) for m in masks]) > 0
        several = len(masks) > 1
        low = returned[-1][:, :, ::2, ::2] if several else returned[-1][0]
        yield f"s{number}_low", low
        yield f"s{number}_iou", ious if several else ious[0]
        yield f"s{number}_maskbits", full if several else full[0]


def _still_prompts(step: Mapping[str, Any]) -> list[PointPrompt]:
    if "box" in step and isinstance(step["box"][0], list):
        return [_points({"box": box}) for box in step["box"]]
    if "points" in step and isinstance(step["points"][0][0], list):
        pairs = zip(step["points"], step["labels"], strict=True)
        return [_points({"points": points, "labels": labels}) for points, labels in pairs]
    return [_points(step)] if step.get("box") or step.get("points") else []


# ---- stills, through the published face


def _published(model: Sam2) -> SAM2Base:
    published = SAM2Base(model.config)
    published.load_state_dict(model.state_dict(), strict=True)
    return published.eval()


def _predictor_arrays(
    golden: Path, case: Mapping[str, Any], model: Sam2
) -> Iterator[tuple[str, Tensor]]:
    predictor = SAM2ImagePredictor(_published(model))
    predictor.set_image(_picture(golden, case))
    returned: list[np.ndarray] = []
    for number, step in enumerate(case["steps"]):
        source = step.get("mask_from")
        masks, ious, low = predictor.predict(
            point_coords=step.get("points"),
            point_labels=step.get("labels"),
            box=step.get("box"),
            mask_input=returned[source["step"]][source["index"]][None] if source else None,
            multimask_output=step["multimask"],
        )
        returned.append(low)
        yield f"s{number}_low", torch.from_numpy(low[:, :, ::2, ::2] if low.ndim == 4 else low)
        yield f"s{number}_iou", torch.from_numpy(ious)
        yield f"s{number}_maskbits", torch.from_numpy(masks > 0)


def _automatic_arrays(
    golden: Path, case: Mapping[str, Any], model: Sam2
) -> Iterator[tuple[str, Tensor]]:
    published = _published(model)
    for number, step in enumerate(case["steps"]):
        generator = SAM2AutomaticMaskGenerator(published, **step["settings"])
        found = generator.generate(_picture(golden, case))
        columns = {
            "bbox_xywh": "bbox",
            "area": "area",
            "predicted_iou": "predicted_iou",
            "stability": "stability_score",
            "crop_xywh": "crop_box",
        }
        for array, key in columns.items():
            yield f"s{number}_{array}", torch.tensor([mask[key] for mask in found])
        yield f"s{number}_points", torch.tensor([mask["point_coords"][0] for mask in found])
        masks = np.stack([mask["segmentation"] for mask in found[:24]])
        yield f"s{number}_maskbits", torch.from_numpy(masks)


# ---- videos


class _Frames:
    """The clip as the published predictor reads a folder of pictures."""

    def __init__(self, clip: np.ndarray, size: int) -> None:
        self.pictures = [Image.fromarray(frame) for frame in clip]
        self.size = size

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Tensor:
        return normalise(from_video_picture(self.pictures[index], self.size)[None])[0]


def _video_arrays(
    golden: Path, case: Mapping[str, Any], model: Sam2
) -> Iterator[tuple[str, Tensor]]:
    makers = _module(golden / "frames.py")
    clip = makers.make_clip(**case["clip"])
    condition = case["settings"].get("add_all_frames_to_correct_as_cond", False)
    session = Session(
        model,
        _Frames(clip, model.config.image_size),
        clip.shape[1:3],
        corrections_condition=condition,
    )
    for number, step in enumerate(case["steps"]):
        if step["op"] == "propagate":
            yield from _propagate(session, step, number, case["full_frames"])
            continue
        if step["op"] == "mask":
            prompt = MaskPrompt(torch.from_numpy(_drawn_mask(makers, case["clip"], step["mask"])))
        else:
            prompt = _points(step)
        logits = session.prompt(
            step["obj"], step["frame"], prompt, extend=not step.get("clear_old_points", True)
        )
        for array, value in _frame_arrays({0: session.tracks[step["obj"]]}, step["frame"]).items():
            # A score has an axis of its own where one object answers.
            yield f"s{number}_{array}", value if array == "score" else value[0]
        yield f"s{number}_videobits", logits > 0


def _drawn_mask(
    makers: ModuleType, clip: Mapping[str, int], wanted: Mapping[str, Any]
) -> np.ndarray:
    mask = makers.object_masks(wanted["frame"], clip["height"], clip["width"], clip["seed"])
    mask = mask[wanted["index"]]
    return np.zeros_like(mask) if wanted.get("empty") else mask


def _propagate(
    session: Session, step: Mapping[str, Any], number: int, full_frames: list[int]
) -> Iterator[tuple[str, Tensor]]:
    visited: list[int] = []
    rows: dict[str, list[Tensor]] = {}
    for frame, logits in session.propagate(step["start"], step["max_frames"], step["reverse"]):
        visited.append(frame)
        arrays = _frame_arrays(session.tracks, frame)
        if frame in full_frames:
            yield (
                f"s{number}_full{frame}",
                torch.stack([t.found[frame].mask for t in session.tracks.values()]),
            )
        for array, value in (arrays | {"videobits": logits > 0}).items():
            rows.setdefault(array, []).append(value)
    assert visited == step["result"]["frames"]
    for array, values in rows.items():
        yield f"s{number}_{array}", torch.stack(values)


def _frame_arrays(tracks: Mapping[Hashable, Track], frame: int) -> dict[str, Tensor]:
    found = [t.at(frame) for t in tracks.values()]
    masks = torch.stack([f.mask for f in found])
    return {
        "score": torch.stack([f.score for f in found]),
        "ptr": torch.stack([f.pointer for f in found]),
        "iou": torch.stack([f.iou for f in found]),
        "low4": masks[:, 1::4, 1::4],
        "lowbits": masks > 0,
    }


def _video_predictor_arrays(
    golden: Path, case: Mapping[str, Any], model: Sam2
) -> Iterator[tuple[str, Tensor]]:
    makers = _module(golden / "frames.py")
    settings = Settings(**case["settings"])  # without hole filling, as all cases are
    predictor = SAM2VideoPredictor(model.config, settings).eval()
    predictor.load_state_dict(model.state_dict())
    state = predictor.init_state(makers.make_clip(**case["clip"]))
    for number, step in enumerate(case["steps"]):
        if step["op"] == "propagate":
            rows: dict[str, list[Tensor]] = {}
            for frame, ids, logits in predictor.propagate_in_video(
                state, step["start"], step["max_frames"], step["reverse"]
            ):
                assert ids == step["result"]["obj_ids"]
                arrays = _published_arrays(state, ids, frame) | {"frames": torch.tensor(frame)}
                if frame in case["full_frames"]:
                    yield f"s{number}_full{frame}", arrays["masks"]
                for array, value in (arrays | {"videobits": logits[:, 0] > 0}).items():
                    rows.setdefault(array, []).append(value)
            yield from ((f"s{number}_{a}", torch.stack(v)) for a, v in rows.items() if a != "masks")
            continue
        if step["op"] == "mask":
            mask = _drawn_mask(makers, case["clip"], step["mask"])
            _, ids, logits = predictor.add_new_mask(state, step["frame"], step["obj"], mask)
        else:
            _, ids, logits = predictor.add_new_points_or_box(
                state,
                step["frame"],
                step["obj"],
                points=step["points"],
                labels=step["labels"],
                clear_old_points=step.get("clear_old_points", True),
                box=step["box"],
            )
        assert ids == step["result"]["obj_ids"]
        stored = state["temp_output_dict_per_obj"][ids.index(step["obj"])]
        assert step["frame"] in stored[step["result"]["stored_as"]]
        for array, value in _published_arrays(state, [step["obj"]], step["frame"]).items():
            if array != "masks":
                yield f"s{number}_{array}", value if array == "score" else value[0]
        yield f"s{number}_videobits", logits[:, 0] > 0


def _published_arrays(state: InferenceState, ids: list[Hashable], frame: int) -> dict[str, Tensor]:
    """What the state says of objects on a frame, read by its published keys."""
    entries = []
    for object_id in ids:
        index = state["obj_id_to_idx"][object_id]
        outputs = ChainMap(
            *state["temp_output_dict_per_obj"][index].values(),
            *state["output_dict_per_obj"][index].values(),
        )
        entries.append(outputs[frame])
    masks = torch.cat([e["pred_masks"][0] for e in entries])
    return {
        "score": torch.cat([e["object_score_logits"][0] for e in entries]),
        "ptr": torch.cat([e["obj_ptr"] for e in entries]),
        "low4": masks[:, 1::4, 1::4],
        "lowbits": masks > 0,
        "masks": masks,
    }
