"""What an actor makes of weights that are not the run's, and of a device in trouble."""

from pathlib import Path

import pytest
import torch
from pyarrow.fs import LocalFileSystem

from pipeline.config import load_config
from pipeline.sink import Output
from pipeline.spine import SegmentShard, is_of_device
from sam2.checkpoint import CheckpointError


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_an_actor_refuses_weights_that_are_not_those_of_the_run(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    output = Output(LocalFileSystem(), str(tmp_path), "run", checkpoint_sha256="0" * 64)

    with pytest.raises(CheckpointError, match=r"not those that the run began with: nano has"):
        SegmentShard(load_config(), output, ledger=None)
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("error", "ends_the_actor"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), True),
        (RuntimeError("CUDA driver error: an illegal memory access was encountered"), True),
        (RuntimeError("Triton Error [CUDA]: unspecified launch failure"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling"), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
    ],
)
def test_trouble_with_a_device_is_known_by_what_its_libraries_say(
    error: RuntimeError, ends_the_actor: bool
) -> None:
    assert is_of_device(error) is ends_the_actor
