"""Makes small clips for tests."""

from pathlib import Path

import av
import numpy as np


def write_clip(path: Path, n_frames: int = 6, width: int = 96, height: int = 64) -> Path:
    """A bright square that moves over noise, 12 frames a second, H.264."""
    noise = np.random.default_rng(0).integers(0, 90, (height, width, 3), dtype=np.uint8)
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for t in range(n_frames):
            pixels = noise.copy()
            pixels[20:44, 8 + 4 * t : 32 + 4 * t] = (230, 200, 60)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return path
