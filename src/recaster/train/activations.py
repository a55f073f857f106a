"""Less memory for a network's values, at the price of computing them twice (Chen et al. 2016)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint


def keep_few_activations(net: nn.Module) -> None:
    """Let each block of ``net`` keep its input only, and compute the rest of its values again for the gradients.

    The gradients and the names of the weights stay the same.
    """
    for block in list(blocks_of(net)):
        if "forward" not in vars(block):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def blocks_of(module: nn.Module) -> Iterator[nn.Module]:
    """The innermost modules that have convolutions of their own."""
    children = list(_called(module))
    inner = [block for child in children for block in blocks_of(child)]
    if inner:
        yield from inner
    elif any(isinstance(child, nn.Conv2d | nn.ConvTranspose2d) for child in children):
        yield module


def _called(module: nn.Module) -> Iterator[nn.Module]:
    """The children that compute something; lists only hold others."""
    for child in module.children():
        if isinstance(child, nn.ModuleList | nn.ModuleDict):
            yield from _called(child)
        else:
            yield child
