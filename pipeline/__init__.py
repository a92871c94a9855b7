"""Many videos, many machines: manifest, plan, decoding, the Ray Data job, masklets."""

from typing import TYPE_CHECKING, Any

from pipeline.masklets import Masklet, read_masklets

if TYPE_CHECKING:
    from pipeline.spine import segment

__version__ = "0.1.0"
__all__ = ["Masklet", "read_masklets", "segment"]


def __getattr__(name: str) -> Any:
    """Gives `segment` to those who ask for it: torch and Ray take seconds to import."""
    if name != "segment":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipeline.spine import segment

    return segment
