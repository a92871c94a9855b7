"""Many videos, many machines: manifest, plan, decoding, the Ray Data job, masklets."""

from pipeline.masklets import Masklet, read_masklets

__all__ = ["Masklet", "read_masklets"]
