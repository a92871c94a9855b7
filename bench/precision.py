"""How nearly the fast precisions draw the masks of the exact one, beside its own autocast.

python -m bench.precision --golden GOLDEN [VIDEO …] [--model sam2.1-tiny] [--frames 6]

One click on the middle of the first frame, tracked forwards; IoU with the exact masks on the frames
where those cover at least a thousandth of the picture. Weights are the random ones of the golden
cases (or those of `--checkpoint`; `nano` has its own), and the golden clip comes first. `autocast`
is the exact model under torch.autocast in bfloat16, as the published code is run on GPUs.
"""

import json
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Annotated, cast

import av
import numpy as np
import rich
import torch
import typer
from numpy.typing import NDArray
from rich.table import Table

from bench.machine import machine
from sam2.checkpoint import SHIPPED, load_weights
from sam2.config import Precision, model_config
from sam2.precision import set_precision
from sam2.sam2_video_predictor import SAM2VideoPredictor
from tests.golden_cases import golden_state_dict

_RESULTS = Path(__file__).parent / "results" / "precision.json"
_LEAST = 1e-3  # of the picture
_FAST = ("float32", "bfloat16", "autocast")
_SHIFT = {"sam_mask_decoder.pred_obj_score_head.layers.2.bias": 4.3}  # objects are mostly there

Masks = NDArray[np.bool_]  # (frames, H, W)


def main(
    videos: Annotated[list[Path] | None, typer.Argument()] = None,
    golden: Annotated[Path, typer.Option(help="The folder of the golden cases.")] = Path("golden"),
    model: str = "sam2.1-tiny",
    checkpoint: Path | None = None,
    frames: int = 6,
) -> None:
    """Compare masks of each precision with the exact ones."""
    rows = {}
    for name, clip in clips(golden, videos or [], frames):
        exact = tracked(model, golden, checkpoint, "exact", clip)
        rows[name] = {
            p: overlaps(exact, tracked(model, golden, checkpoint, p, clip)) for p in _FAST
        }
        rich.print(name, {p: [round(v, 4) for v in values] for p, values in rows[name].items()})
    table = Table("clip", "frames", *(f"{p}: mean, least" for p in _FAST))
    rows["all"] = {p: [v for row in rows.values() for v in row[p]] for p in _FAST}
    for name, row in rows.items():
        figures = [f"{mean(row[p]):.4f} {min(row[p]):.4f}" if row[p] else "" for p in _FAST]
        table.add_row(name, str(len(row["float32"])), *figures)
    rich.print(table)
    result = {"model": model, "rows": rows, "machine": machine()}
    _RESULTS.with_stem(f"precision-{model}").write_text(json.dumps(result, indent=2) + "\n")


def clips(golden: Path, videos: list[Path], frames: int) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The golden clip and the first frames of each video, every third."""
    spec = spec_from_file_location("frames", golden / "frames.py")
    assert spec
    assert spec.loader
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    yield "golden clip", made.make_clip(num_frames=frames, height=240, width=320, seed=1)
    for path in videos:
        with av.open(path) as container:
            pictures = islice(container.decode(video=0), 0, 3 * frames, 3)
            yield path.name, np.stack([picture.to_ndarray(format="rgb24") for picture in pictures])


def tracked(
    model: str, golden: Path, checkpoint: Path | None, precision: str, clip: NDArray[np.uint8]
) -> Masks:
    """The clicked object on every frame of a clip."""
    predictor = SAM2VideoPredictor(model_config(model))
    if path := checkpoint or SHIPPED.get(model):
        load_weights(predictor, path)
    else:
        keys = model.replace("-", "_hiera_", 1).replace("-", "_")
        predictor.load_state_dict(golden_state_dict(golden, keys, seed=3, shift=_SHIFT, scale={}))
    autocast = precision == "autocast"
    set_precision(predictor.eval(), "exact" if autocast else cast(Precision, precision))
    height, width = clip.shape[1:3]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        state = predictor.init_state(clip)
        predictor.add_new_points_or_box(state, 0, 1, points=[[width // 2, height // 2]], labels=[1])
        masks = [logits[0, 0] > 0 for _, _, logits in predictor.propagate_in_video(state)]
    return torch.stack(masks).numpy()


def overlaps(exact: Masks, other: Masks) -> list[float]:
    """IoU on each frame where the exact mask is not nearly empty."""
    return [
        float((a & b).sum() / (a | b).sum())
        for a, b in zip(exact, other, strict=True)
        if a.mean() >= _LEAST
    ]


if __name__ == "__main__":
    typer.run(main)
