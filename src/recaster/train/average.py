"""A running average of a network's weights, steadier than the weights themselves (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The weights of ``net`` averaged over its updates, each counting ``decay`` times as much as the one after it.

    Early on, after n updates, the decay is only (1 + n) / (10 + n), so that the first weights are soon forgotten (the
    warm-up of TensorFlow's ``ExponentialMovingAverage``). ``updates`` is n. The average lies where the net does.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        self.updates = 0
        self._decay = decay
        self._net = net
        self._values = {name: value.detach().clone() for name, value in net.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights as they are now into the average. Values that are not learned are copied."""
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        means: list[Tensor] = []
        weights: list[Tensor] = []
        for name, value in self._net.state_dict(keep_vars=True).items():
            if isinstance(value, nn.Parameter):
                means.append(self._values[name])
                weights.append(value)
            else:
                self._values[name].copy_(value)
        torch._foreach_lerp_(means, weights, 1 - decay)

    def state(self) -> dict[str, Tensor]:
        """The average under the names of the net's own state dict; the next update changes it."""
        return dict(self._values)

    def restore(self, values: Mapping[str, Tensor], updates: int | None = None) -> None:
        """Go on from a :meth:`state` after that many ``updates``; None means that the warm-up is over.

        What ``values`` lacks, or has in another shape, begins with the net's own weights.
        """
        for name, value in self._net.state_dict().items():
            saved = values.get(name)
            self._values[name].copy_(value if saved is None or saved.shape != value.shape else saved)
        self.updates = 10**9 if updates is None else updates

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the net has the average, and the average the net's weights: nothing is copied."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, value in self._net.state_dict(keep_vars=True).items():
            value.data, self._values[name] = self._values[name], value.data
