"""One contender of bench.speed: tracks a frame whenever it is told to, and says how long it took.

Runs by itself in the environment of its package, so it imports nothing of this project by name:
`sam2` is ours or the published one, whichever is installed. Arguments, as JSON: kind (sam2 or
transformers), precision, checkpoint, config, compiled, frames (a folder), prompts (frames), videos
(sessions on the same frames), objects, device, threads.
"""

import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image

Track = Callable[[int], None]  # tracks all objects to this frame


def main() -> None:
    """Prepares what the arguments ask for, then tracks the frame that each line of input names."""
    asked = json.loads(sys.argv[1])
    torch.set_num_threads(asked["threads"])
    places = [
        [(150 + 97 * i) % 800 + 60, (210 + 61 * i) % 400 + 60] for i in range(asked["objects"])
    ]
    make = {"sam2": sam2, "transformers": transformers}[asked["kind"]]
    with torch.inference_mode(), _autocast(asked):
        track = make(asked, places)
        print("ready", flush=True)
        for line in sys.stdin:
            cpu, wall = time.process_time(), time.perf_counter()
            track(int(line))
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            took = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
            print(json.dumps(took), flush=True)


def _autocast(asked: dict) -> AbstractContextManager:
    if asked["precision"] != "autocast":
        return nullcontext()
    return torch.autocast(asked["device"], torch.bfloat16)


def sam2(asked: dict, places: list[list[int]]) -> Track:
    """The published package or ours, through the face that both have."""
    from sam2.build_sam import build_sam2_video_predictor

    ours = asked["precision"] in ("float32", "bfloat16")  # compiled by set_precision
    overrides = {"vos_optimized": True} if asked["compiled"] and not ours else {}
    predictor = build_sam2_video_predictor(
        asked["config"], asked["checkpoint"], device=asked["device"], **overrides
    )
    if ours:
        from sam2.precision import set_precision

        set_precision(predictor, asked["precision"])
    states = [predictor.init_state(asked["frames"]) for _ in range(asked["videos"])]
    for state, frame in product(states, range(asked["prompts"])):
        for number, place in enumerate(places):
            predictor.add_new_points_or_box(state, frame, number, points=[place], labels=[1])

    def track(frame: int) -> None:
        for state in states:
            for _ in predictor.propagate_in_video(state, frame, max_frame_num_to_track=0):
                pass

    return track


def transformers(asked: dict, places: list[list[int]]) -> Track:
    """Hugging Face's default, a tiny model, with weights of its own making: only speed counts."""
    from transformers import Sam2VideoConfig, Sam2VideoModel
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    torch.manual_seed(0)
    model = Sam2VideoModel(Sam2VideoConfig()).eval().to(asked["device"])
    files = sorted(Path(asked["frames"]).iterdir())
    frames = [np.asarray(Image.open(f).resize((1024, 1024))) for f in files]
    height, width = Image.open(files[0]).size[::-1]
    video = (torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2) / 255 - 0.45) / 0.225
    session = Sam2VideoInferenceSession(
        video=video,
        video_height=height,
        video_width=width,
        inference_device=asked["device"],
        dtype=torch.float32,
    )
    for frame in range(asked["prompts"]):
        for number, place in enumerate(places):
            index = session.obj_id_to_idx(number)
            point = torch.tensor(place).float().view(1, 1, 1, 2) * torch.tensor(
                [1024 / width, 1024 / height]
            )
            label = torch.ones(1, 1, 1, dtype=torch.int32)
            session.add_point_inputs(index, frame, {"point_coords": point, "point_labels": label})
        session.obj_with_new_inputs = [*range(len(places))]
        model(inference_session=session, frame_idx=frame)

    def track(frame: int) -> None:
        model(inference_session=session, frame_idx=frame)

    return track


if __name__ == "__main__":
    main()
