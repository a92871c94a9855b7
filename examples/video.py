"""Follows two objects through a clip, one from a click and one from a box, and draws them in.

python -m examples.video
python -m examples.video --config configs/sam2.1/sam2.1_hiera_t --checkpoint sam2.1_hiera_tiny.pt \
    --video dog.mp4 --point 210 350 --box 300 0 500 400
"""

from collections.abc import Sequence
from pathlib import Path

from examples.moving import (
    AROUND_THE_BALLOON,
    BALL,
    BALLOON,
    ON_THE_BALL,
    masks_of,
    parser,
    predictor_for,
)
from pipeline.any_video import open_video
from pipeline.overlay import overlay, write_video
from pipeline.video import local_copy


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--point", type=float, nargs=2, default=ON_THE_BALL[0])
    options.add_argument("--box", type=float, nargs=4, default=AROUND_THE_BALLOON)
    options.add_argument("--out", type=Path, default=Path("video.mp4"))
    args = options.parse_args(argv)

    predictor = predictor_for(args)
    state = predictor.init_state(args.video)
    predictor.add_new_points_or_box(state, 0, BALL, points=[args.point], labels=[1])
    predictor.add_new_points_or_box(state, 0, BALLOON, box=args.box)
    masks = {
        frame: masks_of(objects, logits)
        for frame, objects, logits in predictor.propagate_in_video(
            state, max_frame_num_to_track=args.frames - 1
        )
    }

    with local_copy(args.video) as path, open_video(path, args.video) as clip:
        pictures = (overlay(f.pixels, masks[f.index]) for f in clip.frames(0, len(masks)))
        write_video(args.out, pictures, clip.info.fps)
    print(f"{args.out}: {len(masks)} frames with {len(state['obj_ids'])} objects")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
