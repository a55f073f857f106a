from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from recaster.nets.blocks import glorot_
from recaster.nets.critics import CodeCritic, PatchCritic, judging_loss, passing_loss, receptive_field, strides_for


@pytest.mark.parametrize(
    ("patch", "field", "strides"),
    [
        (3, 3, (2,)),
        (8, 7, (2, 2)),
        (16, 15, (2, 2, 2)),
        (28, 27, (2, 1, 2, 1, 2)),
        (32, 31, (2, 2, 2, 2)),
        (64, 63, (2, 2, 2, 2, 2)),
    ],
)
def test_layers_for_a_patch(patch: int, field: int, strides: tuple[int, ...]) -> None:
    assert strides_for(patch) == strides
    assert receptive_field(strides) == field


@pytest.mark.parametrize("patch", range(3, 641, 49))
def test_every_patch_size_has_layers_that_come_near(patch: int) -> None:
    strides = strides_for(patch)
    assert strides[0] == 2 and set(strides) <= {1, 2} and len(strides) <= 9
    assert abs(receptive_field(strides) - patch) <= max(2, patch / 20)


@pytest.mark.parametrize("strides", [(2,), (2, 2, 2), (2, 1, 2, 1, 2), (2, 2, 1, 1)])
def test_receptive_field_is_what_one_value_depends_on(strides: tuple[int, ...]) -> None:
    convolutions = nn.Sequential(*(nn.Conv2d(1, 1, 3, stride, bias=False) for stride in strides))
    for layer in convolutions:
        nn.init.ones_(layer.weight)
    image = torch.zeros(1, 1, 80, 80, requires_grad=True)
    convolutions(image)[0, 0, 0, 0].backward()
    assert image.grad is not None
    assert int((image.grad[0, 0].sum(0) > 0).sum()) == receptive_field(strides)


@pytest.mark.parametrize("patch", [5, 16, 28, 64])
@pytest.mark.parametrize("side", [64, 80, 112])
def test_patch_critic_gives_a_map_of_patches_and_one_of_pixels(patch: int, side: int) -> None:
    with torch.device("meta"):
        critic = PatchCritic(patch, 8)
        patches, pixels = critic(torch.empty(2, 3, side, side))
    assert pixels.shape == (2, 1, side, side)
    for stride in strides_for(patch):
        side = -(-side // stride)
    assert patches.shape == (2, 1, side, side)


def test_patch_critic_layers() -> None:
    """Widths double up to 512; the way up gets what the way down had at the same size."""
    with torch.device("meta"):
        critic = PatchCritic(64, 64)
    assert [(c.in_channels, c.out_channels) for c in critic.downs] == [
        (64, 128),
        (128, 256),
        (256, 512),
        (512, 512),
        (512, 512),
    ]
    assert [(c.in_channels, c.out_channels) for c in critic.ups] == [
        (512, 512),
        (1024, 512),
        (1024, 256),
        (512, 128),
        (256, 64),
    ]
    assert critic.start.weight.shape == (64, 3, 1, 1)
    assert critic.patches.weight.shape == (1, 512, 1, 1)
    assert critic.middle.weight.shape == (512, 512, 1, 1)
    assert critic.pixels.weight.shape == (1, 128, 1, 1)


def test_a_patch_sees_no_further_than_its_receptive_field() -> None:
    torch.manual_seed(0)
    critic = PatchCritic(16, 4)
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    patches, _ = critic(image)
    patches[0, 0, 4, 4].backward()
    assert image.grad is not None
    assert int((image.grad[0].abs().sum((0, 1)) > 0).sum()) == 15


@pytest.mark.parametrize(("side", "widths"), [(4, [256]), (8, [256, 512]), (16, [256, 512, 1024]), (40, None)])
def test_code_critic_layers(side: int, widths: list[int] | None) -> None:
    with torch.device("meta"):
        critic = CodeCritic(24, side)
        (logits,) = critic(torch.empty(2, 24, side, side))
    widths = widths or [256, 512, 1024, 2048, 2048, 2048]
    assert [down.out_channels for down in critic.downs] == widths
    assert [down.kernel_size[0] for down in critic.downs] == [4, *[3] * (len(widths) - 1)]
    assert all(down.stride == (2, 2) for down in critic.downs)
    assert logits.shape[:2] == (2, 1)


class Fixed(nn.Module):
    """A critic that takes pictures for logits, as they are and halved."""

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return image[:, :1], image[:, 1:] / 2


def cross_entropy(logits: np.ndarray, real: bool) -> np.ndarray:
    probability = 1 / (1 + np.exp(-logits))
    return -np.log(probability if real else 1 - probability).mean((1, 2, 3))


def test_values_of_the_losses() -> None:
    rng = np.random.default_rng(0)
    real, made = (rng.normal(size=(3, 2, 4, 4)) for _ in range(2))
    passing = cross_entropy(made[:, :1], True) + cross_entropy(made[:, 1:] / 2, True)
    judging = 0.5 * sum(
        cross_entropy(real[:, part] / scale, True) + cross_entropy(made[:, part] / scale, False)
        for part, scale in ((slice(0, 1), 1), (slice(1, 2), 2))
    )
    tensors = torch.from_numpy(real).float(), torch.from_numpy(made).float()
    np.testing.assert_allclose(passing_loss(Fixed(), tensors[1]).numpy(), passing, rtol=1e-5)
    np.testing.assert_allclose(judging_loss(Fixed(), *tensors).numpy(), judging, rtol=1e-5)


def test_losses_stay_finite_for_a_critic_that_is_sure() -> None:
    sure = torch.full((1, 2, 2, 2), 1e4)
    assert judging_loss(Fixed(), -sure, sure).isfinite().all()
    assert passing_loss(Fixed(), -sure) == pytest.approx(1.5e4)


def test_a_critic_learns_to_tell_bright_from_dark() -> None:
    torch.manual_seed(0)
    critic = PatchCritic(8, 4)
    glorot_(critic)
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3)
    bright, dark = torch.rand(4, 3, 16, 16) / 2 + 0.5, torch.rand(4, 3, 16, 16) / 2
    for _ in range(60):
        optimizer.zero_grad()
        judging_loss(critic, bright, dark).mean().backward()
        optimizer.step()
    assert (critic(bright)[0] > 0).all() and (critic(dark)[0] < 0).all()
    assert passing_loss(critic, bright).max() < passing_loss(critic, dark).min()
