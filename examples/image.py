"""Segments what is at one point of a picture and paints the three readings of that click.

python -m examples.image
python -m examples.image --config configs/sam2.1/sam2.1_hiera_t --checkpoint sam2.1_hiera_tiny.pt \
    --picture dog.jpg --point 210 350
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from examples.still import load, parser
from pipeline.overlay import overlay
from sam2.build_sam import build_sam2
from sam2.sam2_image_predictor import SAM2ImagePredictor


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__, out="image.png")
    options.add_argument("--point", type=float, nargs=2, default=(273, 324), metavar=("X", "Y"))
    args = options.parse_args(argv)
    picture = load(args.picture)

    predictor = SAM2ImagePredictor(build_sam2(args.config, args.checkpoint, device=args.device))
    predictor.set_image(picture)
    masks, scores, _ = predictor.predict(
        point_coords=np.array([args.point]),
        point_labels=np.array([1]),
        multimask_output=True,
    )

    best_first = np.argsort(-scores)
    painted = [overlay(picture, {1: masks[i] > 0}, {1: f"{scores[i]:.2f}"}) for i in best_first]
    Image.fromarray(np.hstack(painted)).save(args.out)
    print(f"{args.out}: {len(masks)} masks, scores {', '.join(f'{s:.2f}' for s in scores)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
