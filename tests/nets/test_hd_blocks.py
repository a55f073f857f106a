"""Blocks of the high-definition models; their layers are tested with the models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recaster.nets.blocks import glorot_
from recaster.nets.hd_blocks import FourPixels, HdDecoder, UnitSquare, code_side, hd_encoder, hd_inter, vector_size


@pytest.mark.parametrize("letters", ["", "u", "t", "utc"])
@pytest.mark.parametrize("resolution", [64, 80, 112])
def test_encoders_end_in_as_many_numbers_as_they_say(letters: str, resolution: int) -> None:
    with torch.device("meta"):
        vector = hd_encoder(4, letters)(torch.empty(2, 3, resolution, resolution))
    assert vector.shape == (2, vector_size(resolution, 4, letters))


@pytest.mark.parametrize("letters", ["", "d", "t", "dt"])
def test_inter_and_decoder_come_back_to_the_resolution(letters: str) -> None:
    with torch.device("meta"):
        code = hd_inter(10, 6, 8, code_side(96, letters), letters)(torch.empty(2, 10))
        rgb, mask = HdDecoder(8, 2, 2, letters)(code)
    assert (rgb.shape, mask.shape) == ((2, 3, 96, 96), (2, 1, 96, 96))


def test_four_pixels_lie_in_the_order_of_their_convolutions() -> None:
    block = FourPixels(2)
    for layer in (block.first, block.others):
        torch.nn.init.zeros_(layer.weight)
    block.first.bias.data = torch.tensor([0.0, 0.1, 0.2])
    block.others.bias.data = torch.tensor([1.0, 1.1, 1.2, 2.0, 2.1, 2.2, 3.0, 3.1, 3.2])
    out = block(torch.zeros(1, 2, 2, 3)).detach()[0]
    assert out.shape == (3, 4, 6)
    for color in range(3):
        expected = np.tile([[0, 1], [2, 3]], (2, 3)) + 0.1 * color
        np.testing.assert_allclose(out[color].numpy(), expected, atol=1e-6)


def test_unit_square() -> None:
    vectors = torch.tensor([[3.0, -4.0], [0.0, 0.0]])
    np.testing.assert_allclose(
        UnitSquare()(vectors).numpy(), [[3 / 12.500001**0.5, -4 / 12.500001**0.5], [0, 0]], atol=1e-6
    )


def test_downs_are_padded_alike_on_both_sides() -> None:
    """A mirrored picture through mirrored kernels gives mirrored features, but for the even size: one pixel aside."""
    torch.manual_seed(0)
    down = hd_encoder(2, "")[0]
    image = torch.rand(1, 3, 9, 9)
    with torch.no_grad():
        out = down(image)
        down.conv.weight.data = down.conv.weight.data.flip(3)
        torch.testing.assert_close(down(image.flip(3)), out.flip(3))


def test_waves_replace_all_leaky_units() -> None:
    """A network of waves without biases is odd in its input, up to the sigmoid; one of leaky units is not."""
    torch.manual_seed(0)
    picture = torch.rand(1, 3, 64, 64)
    for letters, odd in (("utc", True), ("ut", False)):
        net = torch.nn.Sequential(hd_encoder(2, letters), hd_inter(64, 4, 4, 4, letters), HdDecoder(4, 2, 2, letters))
        glorot_(net)
        with torch.no_grad():
            a, b = (net(sign * picture)[0] for sign in (1, -1))
        assert (a - 0.5).abs().max() > 1e-4
        assert torch.allclose(a - 0.5, 0.5 - b, atol=1e-6) == odd
