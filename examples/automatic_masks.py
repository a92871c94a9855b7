"""Finds everything in a picture, without a prompt, and paints it.

python -m examples.automatic_masks
python -m examples.automatic_masks --config configs/sam2.1/sam2.1_hiera_t \
    --checkpoint sam2.1_hiera_tiny.pt --picture street.jpg --points-per-side 32
"""

from collections.abc import Sequence

from PIL import Image

from examples.still import load, parser
from pipeline.overlay import overlay
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.build_sam import build_sam2


def main(argv: Sequence[str] | None = None) -> int:
    options = parser(__doc__, out="automatic_masks.png")
    options.add_argument("--points-per-side", type=int, default=16)
    options.add_argument("--pred-iou-thresh", type=float, default=0.8)
    # The published models do with 0.95; masks of nano, the default, move more with the threshold.
    options.add_argument("--stability-score-thresh", type=float, default=0.88)
    args = options.parse_args(argv)
    picture = load(args.picture)

    model = build_sam2(args.config, args.checkpoint, args.device, apply_postprocessing=False)
    generator = SAM2AutomaticMaskGenerator(
        model,
        points_per_side=args.points_per_side,
        pred_iou_thresh=args.pred_iou_thresh,
        stability_score_thresh=args.stability_score_thresh,
    )
    masks = generator.generate(picture)

    largest_first = sorted(masks, key=lambda mask: mask["area"], reverse=True)
    painted = overlay(picture, {i: m["segmentation"] for i, m in enumerate(largest_first)})
    Image.fromarray(painted).save(args.out)
    print(f"{args.out}: {len(masks)} masks")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
