"""What a figure was measured on."""

import os
import platform
from pathlib import Path

import torch

from sam2.config import Precision
from sam2.precision import fast_at_bfloat16


def machine() -> dict[str, str | int]:
    """The processor and what it is fast at, cores, accelerator and versions of this machine."""
    return {
        "cpu": _cpu(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "bfloat16": fast_at_bfloat16(torch.device("cpu")),
        "cores": os.cpu_count() or 1,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def precisions(device: str = "cpu") -> tuple[Precision, ...]:
    """Those that make sense on a device: none that it is slow at."""
    rounding = fast_at_bfloat16(torch.device(device))
    return ("float32", "bfloat16") if rounding else ("float32",)


def where(device: str = "cpu") -> str:
    """What tells the results of this kind of machine from others in the names of their files."""
    if device != "cpu":
        return f"-{device}"
    return "" if "bfloat16" in precisions() else "-without-bfloat16"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor()
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0].partition(": ")[2] if names else platform.machine()
