"""Follows objects through frames as they arrive, without an end in sight and without growing.

A file plays the camera here; any iterator of RGB arrays (H, W, 3) will do. A second object joins
while the stream runs.

python -m examples.streaming
"""

from collections.abc import Hashable, Iterator, Sequence

import av
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from examples.moving import (
    AROUND_THE_BALLOON,
    BALL,
    BALLOON,
    ON_THE_BALL,
    masks_of,
    parser,
    predictor_for,
)

JOINS = 4  # the frame on which the balloon is pointed out


def camera(video: str) -> Iterator[NDArray[np.uint8]]:
    """Pictures, one after another; nobody knows how many will come."""
    with av.open(video) as clip:
        for frame in clip.decode(video=0):
            yield frame.to_ndarray(format="rgb24")


def main(argv: Sequence[str] | None = None) -> int:
    args = parser(__doc__).parse_args(argv)
    predictor = predictor_for(args)
    state = predictor.init_state(camera(args.video))

    predictor.add_new_points_or_box(state, 0, BALL, points=ON_THE_BALL, labels=[1])
    for frame, objects, logits in predictor.propagate_in_video(state):
        report(frame, objects, logits)
        if frame == JOINS:
            break  # to say something new; the walk goes on below

    predictor.add_new_points_or_box(state, JOINS, BALLOON, box=AROUND_THE_BALLOON)
    for frame, objects, logits in predictor.propagate_in_video(state, start_frame_idx=JOINS):
        report(frame, objects, logits)
        if frame + 1 >= args.frames:
            break
    return 0


def report(frame: int, objects: Sequence[Hashable], logits: Tensor) -> None:
    """Prints how much of each object is in view."""
    areas = {name: int(mask.sum()) for name, mask in masks_of(objects, logits).items()}
    print(f"frame {frame}: " + ", ".join(f"object {i} has {n} pixels" for i, n in areas.items()))


if __name__ == "__main__":
    raise SystemExit(main())
