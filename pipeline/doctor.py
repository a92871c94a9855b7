"""Checks of a machine and its cluster before a run: what is there, does it work, how fast is it."""

import platform
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import __version__, storage
from pipeline.config import RunConfig
from pipeline.manifest import Prompt
from pipeline.overlay import write_video
from pipeline.plan import Task
from pipeline.segmenter import Segmenter
from pipeline.video import Video
from pipeline.weights import open_model
from sam2.devices import resolve_device

_LIBRARIES = ("ray", "torch", "pyarrow", "av")
_WIDTH, _HEIGHT = 1280, 720
_DECODED, _TRACKED = 48, 8  # frames
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. With advice, something could be better; not ok, a run would fail."""

    check: str
    text: str
    advice: str = ""
    ok: bool = True


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster as one that joined it sees it."""

    address: str
    nodes: int
    cpus: float
    gpus: float
    dashboard: str  # host and port; empty where there is none


def examine(
    config: RunConfig, out: str | None, join: Callable[[], Cluster | None]
) -> Iterator[Finding]:
    """All checks, each told as soon as it is done; `join` joins the cluster that is named."""
    yield versions()
    yield devices(config.device)
    if out:
        yield storage_at(out)
    yield cluster(join)
    with TemporaryDirectory(prefix="masklet-") as folder:
        clip = Path(folder) / "clip.mp4"
        write_video(clip, _pictures(_DECODED), fps=24)
        yield decoding(clip, config.threads)
        yield tracking(clip, config)


def versions() -> Finding:
    """The versions that a report of a problem should name."""
    found = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return Finding(
        "versions", f"masklet {__version__}, Python {platform.python_version()}, {found}"
    )


def devices(wanted: str = "auto") -> Finding:
    """The GPUs that torch sees, or the CPU."""
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        return Finding("devices", ", ".join(f"{p.name}, {p.total_memory >> 30} GiB" for p in names))
    text = f"no GPU; {torch.get_num_threads()} CPU threads"
    if wanted.startswith("cuda"):
        return Finding("devices", text, "the settings want one: leave `device` at auto", ok=False)
    if shutil.which("nvidia-smi"):
        advice = "nvidia-smi is here, but torch sees no GPU: install a torch built for its driver"
        return Finding("devices", text, advice, ok=False)
    return Finding("devices", text)


def storage_at(out: str) -> Finding:
    """Whether results can be written, read, listed and deleted at a place."""
    started = time.perf_counter()
    try:
        with storage.no_new_folders(out):
            storage.preflight(out)
    except storage.StorageError as error:
        return Finding("storage", str(error), "put this right, or choose another --out", ok=False)
    took = (time.perf_counter() - started) * 1000
    return Finding("storage", f"{out}: wrote, read, listed and deleted a file in {took:.0f} ms")


def answers_strangers(dashboard: str) -> bool:
    """Whether a dashboard (host and port) answers somebody without the token."""
    try:
        build_opener(ProxyHandler({})).open(f"http://{dashboard}/api/version", timeout=10).close()
    except HTTPError as refusal:
        return refusal.code not in (401, 403)
    except OSError:
        return False  # it is not for us to reach
    return True


def cluster(
    join: Callable[[], Cluster | None], is_open: Callable[[str], bool] = answers_strangers
) -> Finding:
    """Whether the cluster that RAY_ADDRESS names can be joined, and by whom else."""
    try:
        found = join()
    except (ConnectionError, RuntimeError, ValueError) as error:
        advice = "check RAY_ADDRESS, and RAY_AUTH_MODE=token with the cluster's RAY_AUTH_TOKEN"
        return Finding("cluster", f"it cannot be joined: {error}", advice, ok=False)
    if found is None:
        return Finding("cluster", "none is named by RAY_ADDRESS: a run starts one of its own here")
    text = f"{found.address}: {found.nodes} nodes, {found.cpus:g} CPUs, {found.gpus:g} GPUs"
    if not found.dashboard:
        return Finding("cluster", f"{text}; no dashboard, so nothing to ask it without a token")
    if not is_open(found.dashboard):
        return Finding("cluster", f"{text}; wants its token")
    local = found.dashboard.rpartition(":")[0] in _LOOPBACK
    advice = "whoever reaches it can run code: start it with RAY_AUTH_MODE=token"
    return Finding("cluster", f"{text}; answers without a token", advice, ok=local)


def decoding(clip: Path, threads: int) -> Finding:
    """How fast one actor decodes."""
    started = time.perf_counter()
    with Video(clip, threads=threads) as video:
        count = sum(1 for _ in video.frames(size=1024))
    rate = count / (time.perf_counter() - started)
    text = f"{rate:.0f} frames/s of {_WIDTH}x{_HEIGHT} H.264, scaled to 1024, on {threads} threads"
    if count != _DECODED:
        return Finding("decoding", f"{count} of {_DECODED} frames came", "reinstall av", ok=False)
    return Finding("decoding", text)


def tracking(clip: Path, config: RunConfig) -> Finding:
    """How fast one actor tracks one object; several at once are faster."""
    device = resolve_device(config.device)
    model, digest = open_model(config.model, config.checkpoint, device, config.precision)
    segmenter = Segmenter(model, digest, config.max_batch, config.threads)
    for _ in range(2):  # the first time warms up; on a GPU the model is compiled
        started = time.perf_counter()
        (row,) = segmenter.segment([_task(clip, _TRACKED)])
        took = time.perf_counter() - started
    if row.status != "ok":
        return Finding("tracking", str(row.error), "this is a bug: please report it", ok=False)
    rate = _TRACKED / took
    return Finding("tracking", f"{rate:.1f} object-frames/s, {config.model} on {device}, alone")


def _task(clip: Path, frames: int) -> Task:
    return Task(
        task_id=0,
        shard=0,
        video_id="doctor",
        uri=str(clip),
        stop_frame=frames,
        object_id=1,
        prompts=(Prompt(frame=0, box=(100.0, 200.0, 400.0, 500.0)),),
    )


def _pictures(count: int) -> Iterator[NDArray[np.uint8]]:
    """A bright square that moves over noise, (H, W, 3)."""
    noise = np.random.default_rng(0).integers(0, 90, (_HEIGHT, _WIDTH, 3), dtype=np.uint8)
    for t in range(count):
        picture = noise.copy()
        picture[200:500, 100 + 4 * t : 400 + 4 * t] = (230, 200, 60)
        yield picture
