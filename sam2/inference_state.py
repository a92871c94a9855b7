"""A session under the published keys of `inference_state`, as scripts read and write them.

The session holds everything; what a key gives is a view of it, so that deleting an old frame from
`non_cond_frame_outputs` frees its memory, and new `images` are read from then on.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, MutableMapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from sam2.memory import FrameMemory
from sam2.object_track import Track
from sam2.position import sine_map
from sam2.prompts import MaskPrompt, PointPrompt, Prompt
from sam2.session import Session
from sam2.tracking import FrameMask

Entry = Mapping[str, Any]  # what is known of one object on one frame, under its published keys
_COND, _NON_COND = "cond_frame_outputs", "non_cond_frame_outputs"
