"""What work costs a device, in seconds, and storage, in bytes, as `bench.calibrate` measures it."""

import json
from dataclasses import dataclass
from math import floor
from pathlib import Path
from typing import Self

CALIBRATION = Path(__file__).with_name("calibration.json")
_EFFICIENCY = 0.8  # of a device, below which a video's objects are not spread over several


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds that one device needs for the parts of the work."""

    video_s: float  # to open a video
    frame_s: float  # to encode a frame
    object_s: float  # to follow one object to a frame
    megapixel_s: float  # of a frame, to decode and scale it
    object_megapixel_s: float  # of a frame, to scale and code one mask
    mask_bytes: float  # of one coded mask in a file

    @classmethod
    def known(cls, model: str, device: str) -> Self | None:
        """What was measured of a model on a kind of device; None if nothing was."""
        figures = json.loads(CALIBRATION.read_text()).get(f"{model} on {device}")
        return cls(**figures["cost"]) if figures else None

    def seconds(self, n_frames: int, n_objects: int, pixels: int) -> float:
        """To track so many objects through all frames of one video, alone on a device."""
        megapixels = pixels / 1e6
        per_object = self.object_s + self.object_megapixel_s * megapixels
        return self.video_s + n_frames * (self._shared(megapixels) + n_objects * per_object)

    def devices_for(self, n_objects: int, pixels: int) -> int:
        """Over how many devices so many objects of one video may be spread.

        Each of them decodes and encodes every frame again. With that cost e, in units of what one
        object costs, n objects on g devices use them to (e + n) / (g e + n).
        """
        megapixels = pixels / 1e6
        shared = self._shared(megapixels) / (self.object_s + self.object_megapixel_s * megapixels)
        most = (shared + n_objects * (1 - _EFFICIENCY)) / (_EFFICIENCY * shared)
        return max(1, min(n_objects, floor(most)))

    def _shared(self, megapixels: float) -> float:
        return self.frame_s + self.megapixel_s * megapixels


# For the order of work where nothing was measured: what counts is only how its parts compare.
TYPICAL = Cost(
    video_s=0.02,
    frame_s=0.02,
    object_s=0.005,
    megapixel_s=0.01,
    object_megapixel_s=0.005,
    mask_bytes=300,
)
