"""How weights follow their gradients, and where the memory for that lies.

Beside each weight an optimizer keeps moments, running means over its gradients. ``mode`` says where they are and where
the change of the weights is computed:

1. all on the weights' device: 8 bytes a weight (4 for rmsprop), beside the weight and its gradient;
2. moments in the host's memory; those of one tensor at a time visit the device;
3. moments and computation on the host: the gradient of one tensor at a time goes there, its change comes back.

For weights on the CPU all three are the same, bit for bit. Host memory is pinned for CUDA, so that nobody waits for a
copy except for gradients in mode 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim.adam import adam

from recaster.nets.architecture import Rule

MOMENTS = {"adam": ("mean", "square", "step"), "adabelief": ("mean", "deviation"), "rmsprop": ("square",)}
"""What each kind of rule keeps: tensors like the weight, but ``step`` is one number."""

CHUNK = 2**18
"""Values a CPU works through at once: few enough for its caches, enough to keep several threads busy."""
GROUP = 2**24
"""Values that other devices work through at once: many tensors a launch, and little memory for what is in between."""

HOST = torch.device("cpu")


class Optimizer:
    """Moves ``weights``, named tensors on one device, by ``rule`` along the gradients that they carry.

    The rule's ``betas`` are those of the running means of the gradient and of its square; adabelief has the square of
    its distance from the mean instead, and rmsprop no mean, so that it takes the second one alone. Weights without a
    gradient stay as they are. What is random depends only on ``seed`` and on how many steps were made: processes that
    step together draw the same.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], rule: Rule, *, mode: int = 1, seed: int = 0) -> None:
        self._weights = dict(weights)
        self._rule = rule
        self._mode = mode
        self._seed = seed
        self._steps = 0
        self._moments: dict[str, dict[str, Tensor]] = {}
        self._norm: Tensor | None = None

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._norm = None
        for weight in self._weights.values():
            weight.grad = None

    def gradient_norm(self) -> Tensor:
        """The Euclidean norm of all gradients together, a scalar on their device; after a step the norm before it
        clipped them.
        """
        return get_total_norm(self._gradients()) if self._norm is None else self._norm

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Change the weights once. Clips the gradients in place."""
        gradients = self._gradients()
        if self._rule.clip and gradients:
            self._norm = get_total_norm(gradients)
            torch._foreach_mul_(gradients, torch.clamp(self._rule.clip / self._norm, max=1.0))
        self._steps += 1
        random = self._random()
        for names in self._groups():
            self._update(names, learning_rate, random)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """What further steps depend on: moments as ``<weight>:<moment>``, and numbers for JSON.

        The tensors are contiguous; the next step changes them, so clone what is to stay.
        """
        _wait_for(self._device)
        tensors = {
            f"{name}:{moment}": value.contiguous()
            for name, moments in self._moments.items()
            for moment, value in moments.items()
        }
        return tensors, {"kind": self._rule.kind, "steps": self._steps}

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> list[str]:
        """Go on from a :meth:`state`. Gives the names of weights that it has no moments for, which begin afresh.

        These are weights that were not there, had another shape or never a gradient, and all when the rule was of
        another kind. Moments of weights that are gone are ignored.
        """
        self._steps = int(numbers.get("steps", 0))
        known = tensors if numbers.get("kind") == self._rule.kind else {}
        self._moments = {}
        for name in self._weights:
            fresh = self._fresh(name)
            saved = {moment: known[f"{name}:{moment}"] for moment in fresh if f"{name}:{moment}" in known}
            if {key: value.shape for key, value in saved.items()} == {key: value.shape for key, value in fresh.items()}:
                self._moments[name] = {key: value.copy_(saved[key]) for key, value in fresh.items()}
        return [name for name in self._weights if name not in self._moments]

    @property
    def _device(self) -> torch.device:
        return next((weight.device for weight in self._weights.values()), HOST)

    def _gradients(self) -> list[Tensor]:
        return [weight.grad for weight in self._weights.values() if weight.grad is not None]

    def _random(self) -> Generator:
        """A generator for this step alone."""
        device = HOST if self._rule.draw_on_host else self._device
        return Generator(device).manual_seed((self._seed * 0x9E3779B97F4A7C15 + self._steps) % 2**63)

    def _groups(self) -> Iterator[list[str]]:
        """The weights with gradients, in groups that the device holds moments and changes of together."""
        group: list[str] = []
        size = 0
        for name, weight in self._weights.items():
            if weight.grad is None:
                continue
            if group and (self._mode > 1 or size + weight.numel() > GROUP):
                yield group
                group, size = [], 0
            group.append(name)
            size += weight.numel()
        if group:
            yield group

    def _update(self, names: Sequence[str], rate: float, random: Generator) -> None:
        rule, device = self._rule, self._device
        place = HOST if self._mode == 3 else device
        weights = [self._weights[name].detach() for name in names]
        gradients = [_move_to(place, _gradient(self._weights[name])) for name in names]
        kept = [self._kept(name) for name in names]
        moments = [[_move_to(place, each[moment]) for each in kept] for moment in MOMENTS[rule.kind]]
        if place != device:
            _wait_for(device)
        for part in _parts(rule, weights, gradients, *moments):
            if place == device and rule.keep == 1:
                _step(rule, rate, *part)
            else:
                changes = [torch.zeros_like(gradient, pin_memory=gradient.is_pinned()) for gradient in part[1]]
                _step(rule, rate, changes, *part[1:])
                _add(part[0], changes, rule.keep, random)
        for moment, values in zip(MOMENTS[rule.kind], moments, strict=True):
            for each, value in zip(kept, values, strict=True):
                if value is not each[moment]:
                    each[moment].copy_(value, non_blocking=True)

    def _kept(self, name: str) -> dict[str, Tensor]:
        """The moments of one weight where they are kept, laid out in memory as it is now."""
        weight, moments = self._weights[name], self._moments.get(name)
        if moments is None or any(value.dim() and value.stride() != weight.stride() for value in moments.values()):
            fresh = self._fresh(name)
            self._moments[name] = {key: value.copy_(moments[key]) if moments else value for key, value in fresh.items()}
        return self._moments[name]

    def _fresh(self, name: str) -> dict[str, Tensor]:
        """The moments of a weight that has never moved."""
        weight = self._weights[name].detach()
        home = weight.device if self._mode == 1 else HOST
        pinned = home == HOST and weight.device.type == "cuda"
        return {
            moment: torch.zeros((), device=home, pin_memory=pinned)
            if moment == "step"
            else torch.zeros_like(weight, device=home, pin_memory=pinned)
            for moment in MOMENTS[self._rule.kind]
        }


def _move_to(place: torch.device, tensor: Tensor) -> Tensor:
    """``tensor`` itself where it is there already. Other places may have to wait for the copy: see _wait_for."""
    return tensor.to(place, non_blocking=tensor.is_cuda or tensor.is_pinned())


def _wait_for(device: torch.device) -> None:
    """Until the copies from ``device`` that were asked for are there."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()


def _gradient(weight: nn.Parameter) -> Tensor:
    """The gradient with its values in memory in the order of those of ``weight``: as it is, or a copy."""
    gradient = weight.grad
    assert gradient is not None
    return gradient if gradient.stride() == weight.stride() else torch.empty_like(weight).copy_(gradient)


def _parts(rule: Rule, *lists: list[Tensor]) -> Iterator[tuple[list[Tensor], ...]]:
    """What is computed at once. Several operations in turn are quicker on a CPU chunk by chunk, while the values are
    still in its caches; torch's Adam is one operation.
    """
    if rule.kind == "adam" or lists[1][0].device != HOST:
        yield lists
        return
    for tensors in zip(*lists, strict=True):
        flat = (tensor.as_strided((tensor.numel(),), (1,)) for tensor in tensors)
        for chunks in zip(*(tensor.split(CHUNK) for tensor in flat), strict=True):
            yield tuple([chunk] for chunk in chunks)


def _step(rule: Rule, rate: float, weights: list[Tensor], gradients: list[Tensor], *moments: list[Tensor]) -> None:
    """Take the gradients into the moments, and add the rule's change to ``weights``."""
    changes: dict[str, Callable[..., None]] = {"adam": _adam, "adabelief": _adabelief, "rmsprop": _rmsprop}
    changes[rule.kind](rule, rate, weights, gradients, *moments)


def _adam(
    rule: Rule,
    rate: float,
    weights: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
) -> None:
    """Kingma and Ba 2015, algorithm 1."""
    adam(
        weights,
        gradients,
        means,
        squares,
        [],
        steps,
        fused=True,
        amsgrad=False,
        beta1=rule.betas[0],
        beta2=rule.betas[1],
        lr=rate,
        weight_decay=0.0,
        eps=rule.eps,
        maximize=False,
    )


def _adabelief(
    rule: Rule,
    rate: float,
    weights: list[Tensor],
    gradients: list[Tensor],
    means: list[Tensor],
    deviations: list[Tensor],
) -> None:
    """Zhuang et al. 2020, algorithm 2, uncorrected: s follows (g - m)², the change is -rate·m / (√s + eps)."""
    torch._foreach_lerp_(means, gradients, 1 - rule.betas[0])
    apart = torch._foreach_sub(gradients, means)
    torch._foreach_mul_(deviations, rule.betas[1])
    torch._foreach_addcmul_(deviations, apart, apart, value=1 - rule.betas[1])
    _add_quotients(weights, means, deviations, rate, rule.eps)


def _rmsprop(rule: Rule, rate: float, weights: list[Tensor], gradients: list[Tensor], squares: list[Tensor]) -> None:
    """Hinton 2012, lecture 6e: ``s`` follows g², the change is -rate·g / (√s + eps)."""
    torch._foreach_mul_(squares, rule.betas[1])
    torch._foreach_addcmul_(squares, gradients, gradients, value=1 - rule.betas[1])
    _add_quotients(weights, gradients, squares, rate, rule.eps)


def _add_quotients(
    weights: list[Tensor], directions: list[Tensor], squares: list[Tensor], rate: float, eps: float
) -> None:
    roots = torch._foreach_sqrt(squares)
    torch._foreach_add_(roots, eps)
    torch._foreach_addcdiv_(weights, directions, roots, value=-rate)


def _add(weights: list[Tensor], changes: list[Tensor], keep: float, random: Generator) -> None:
    """Make each single change with probability ``keep``."""
    for weight, change in zip(weights, changes, strict=True):
        arrived = _move_to(weight.device, change)
        if keep < 1:
            arrived.mul_(_chosen(arrived, keep, random))
        weight.add_(arrived)


def _chosen(values: Tensor, keep: float, random: Generator) -> Tensor:
    """For each of ``values``, 1 with probability ``keep``, else 0; drawn where ``random`` is."""
    if random.device != HOST:
        return torch.empty_like(values).bernoulli_(keep, generator=random)
    # Four comparisons of 16 random bits each are several times faster than four numbers from bernoulli_.
    words = torch.empty((values.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None, generator=random)
    limit = round(keep * 2**16) - 2**15
    chosen = words.view(torch.int16)[: values.numel()] < min(limit, 2**15 - 1)
    return chosen.to(values.device).view_as(values)
