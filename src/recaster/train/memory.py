"""What to say when memory is out."""

from __future__ import annotations

from typing import Any

import torch

from recaster.errors import RecasterError
from recaster.nets.architecture import Architecture
from recaster.train.options import TrainOptions

_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` is one of the ways in which Python and torch say that memory is out."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)
    )


def out_of_memory(
    architecture: Architecture, net_options: Any, options: TrainOptions, device: torch.device, batch_size: int
) -> RecasterError:
    """One line that says what does not fit and what to change."""
    mends = []
    if options.accumulate < batch_size:
        mends.append(f"--auto-batch (the same batch in parts) or a batch_size below {batch_size}")
    if not options.checkpoint_activations:
        mends.append("--checkpoint-activations")
    if options.optimizer_mode < 3 and device.type != "cpu":
        mends.append(f"--optimizer-mode {options.optimizer_mode + 1}")
    mends.append("a smaller resolution or smaller dims")
    return RecasterError(
        f"there is not enough memory on {device} for {batch_size} faces of each person at once",
        where=f"model {architecture.name}",
        mend=f"Try {', '.join(mends)}; recast plan --model {architecture.name} measures what fits.",
    )
