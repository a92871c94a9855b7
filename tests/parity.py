"""Compares the golden cases with this implementation and prints a table.

python tests/parity.py [--face] [case ...]

With --face videos go through the published video predictor instead of the session below it.

The figures were made with two threads, and so are ours: another number sums in another order, and
with random weights a track carries that on (one thread: up to 1.7e-3 where 1e-3 is allowed).

The cases (figures of published SAM 2, float32 on a CPU, random weights) are too large for the
repository: they lie in the folder MASKLET_SHARED, or in `shared` beside the repository.
"""

import os
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.golden_cases import case_names, run_case


def main() -> int:
    root = Path(__file__).resolve().parents[1]
    shared = Path(os.environ.get("MASKLET_SHARED", root.parent / "shared"))
    if not (shared / "golden" / "cases").is_dir():
        print(f"No golden cases in {shared}: set MASKLET_SHARED to the folder that holds 'golden'.")
        return 2
    torch.set_num_threads(2)
    failed = 0
    print(f"{'case':26} {'array':24} {'largest difference':>18} {'allowed':>9}  result")
    names = [name for name in sys.argv[1:] if name != "--face"]
    for name in names or case_names(shared):
        start = time.perf_counter()
        for d in run_case(shared, name, face="--face" in sys.argv):
            verdict = "pass" if d.within else "FAIL"
            failed += not d.within
            print(
                f"{name:26} {d.array:24} {d.largest:18.2e} {d.tolerance:9.1e}  {verdict}",
                flush=True,
            )
        print(f"{name:26} took {time.perf_counter() - start:.0f} s", flush=True)
    print("all within tolerance" if not failed else f"{failed} arrays out of tolerance")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
