"""The parts of a model compiled: once for each size of batch, then never again."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sam2.model import Sam2

_GRAPHS = 64  # of one part, at most; torch would give up at 8


def compile_parts(model: Sam2, backend: str = "inductor") -> None:
    """Has the parts of a model compiled whenever one of them meets a new size of batch.

    How many memory tokens and prompt tokens there are is left open, so that one graph serves memory
    banks of every length.
    """
    compiled = partial(_compiled, backend=backend)
    encoder, attention, decoder, memorizer = _parts(model)
    encoder.forward = compiled(encoder.forward)
    attention.look = compiled(attention.look)
    attention.forward = _any_length(attention.forward, compiled, {1: 1, 2: 1, 3: 0})
    decoder.forward = _any_length(decoder.forward, compiled, {2: 1})
    memorizer.forward = compiled(memorizer.forward)


def _parts(model: Sam2) -> tuple[Any, ...]:  # Any: their methods are replaced
    return (
        model.image_encoder,
        model.memory_attention,
        model.sam_mask_decoder,
        model.memory_encoder,
    )


def _compiled(plain: Callable[..., Any], backend: str) -> Callable[..., Any]:
    run = torch.compile(plain, fullgraph=True, dynamic=False, backend=backend)

    def call(*tensors: Any, **named: Any) -> Any:
        # The compiler's settings are those of a thread, and a model may run in another than the one
        # that it was made in.
        torch._dynamo.config.recompile_limit = _GRAPHS
        return run(*tensors, **named)

    return call


def _any_length(
    plain: Callable[..., Any], compiled: Callable[..., Any], axes: dict[int, int]
) -> Callable[..., Any]:
    """`plain` compiled, with these axes left open, by the place of the argument that has them.

    Whoever calls it by the published names of its arguments gets the plain form.
    """
    run = compiled(plain)

    def call(*tensors: Tensor, **published: Any) -> Any:
        if published:
            return plain(*tensors, **published)
        for place, axis in axes.items():
            if tensors[place].shape[axis] > 1:  # a length of one has a graph of its own
                torch._dynamo.mark_dynamic(tensors[place], axis)
        return run(*tensors)

    return call
