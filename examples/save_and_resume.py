"""Follows an object half way, saves what is known of it, and goes on from the file.

The file fits any machine with the same model and the same video; on the same kind of device the
masks are equal to the bit, and this script ends with an error if they are not.

python -m examples.save_and_resume
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from examples.moving import BALL, ON_THE_BALL, parser, predictor_for


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__)
    options.add_argument("--out", type=Path, default=Path("half_way.safetensors"))
    args = options.parse_args(argv)
    half = args.frames // 2

    predictor = predictor_for(args)
    state = predictor.init_state(args.video)
    predictor.add_new_points_or_box(state, 0, BALL, points=ON_THE_BALL, labels=[1])
    for _ in predictor.propagate_in_video(state, max_frame_num_to_track=half - 1):
        pass
    predictor.save_state(state, args.out)

    rest = {"start_frame_idx": half, "max_frame_num_to_track": args.frames - half - 1}
    undisturbed = [logits for *_, logits in predictor.propagate_in_video(state, **rest)]
    resumed = predictor.load_state(args.out, args.video)
    equal = all(
        torch.equal(logits, undisturbed.pop(0))
        for *_, logits in predictor.propagate_in_video(resumed, **rest)
    )
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, continued from frame {half}")
    print("equal to the bit" if equal else "NOT equal to an undisturbed walk")
    return 0 if equal else 1


if __name__ == "__main__":
    raise SystemExit(main())
