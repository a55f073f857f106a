"""What to say when memory is out."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import torch

from recaster.device import total_memory
from recaster.errors import RecasterError, UsageError
from recaster.nets.architecture import Architecture
from recaster.train.options import TrainOptions

_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "could not create a primitive",
    "could not create a memory",
)
"""The last two are oneDNN's, which says no more when it gets no memory for what it works with."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is one of the ways in which Python and torch say that memory is out."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)
    )


def out_of_memory(
    architecture: Architecture, net_options: Any, options: TrainOptions, device: torch.device, batch_size: int
) -> RecasterError:
    """One line that says what does not fit, and what to change, with the memory needed then."""
    from recaster.train.outline import Case, outline, remedies, size_text

    part = math.ceil(batch_size / options.accumulate)
    case = Case(architecture, net_options, options, device, part)
    needed, mends = "", []
    # Shapes alone are computed with here, so that it takes no memory; a model that cannot be has its own error.
    with suppress(MemoryError, RuntimeError, UsageError):
        memory = outline(case).memory
        needed, mends = f" (about {size_text(memory.total)})", remedies(case, memory, total_memory(device))[:3]
    if part > 1:
        mends.insert(0, f"--auto-batch (the same batch in parts) or a batch_size below {batch_size}")
    return RecasterError(
        f"there is not enough memory on {device} for {batch_size} faces of each person at once{needed}",
        where=f"model {architecture.name}",
        mend=f"Try {'; or '.join(mends or ['a smaller model'])}. recast plan --model {architecture.name} measures what"
        " fits.",
    )
