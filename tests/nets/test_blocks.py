from __future__ import annotations

import numpy as np
import torch

from recaster.nets.blocks import (
    Bottleneck,
    Decoder,
    Down,
    Residual,
    ResidualDecoder,
    SeparableDown,
    Standardize,
    Up,
    encoder,
    glorot_,
    he_,
)


def leaky(values: np.ndarray, slope: float) -> np.ndarray:
    return np.where(values > 0, values, slope * values)


def test_down_pads_one_pixel_before_and_two_behind() -> None:
    torch.manual_seed(0)
    block = Down(1, 1)
    image = torch.rand(1, 1, 8, 8)
    padded = np.pad(image[0, 0].double().numpy(), (1, 2))
    kernel, bias = block.conv.weight.detach()[0, 0].double().numpy(), block.conv.bias.item()
    expected = [[(padded[y : y + 5, x : x + 5] * kernel).sum() + bias for x in (0, 2, 4, 6)] for y in (0, 2, 4, 6)]
    np.testing.assert_allclose(block(image).detach()[0, 0].numpy(), leaky(np.array(expected), 0.1), atol=1e-6)


def test_up_brings_each_group_of_four_channels_to_a_square() -> None:
    block = Up(1, 2)
    torch.nn.init.zeros_(block.conv.weight)
    block.conv.bias.data = torch.arange(1.0, 9.0)
    block.conv.bias.data[7] = -8
    out = block(torch.zeros(1, 1, 1, 1)).detach()[0]
    assert out.shape == (2, 2, 2)
    np.testing.assert_allclose(out.numpy(), [[[1, 2], [3, 4]], [[5, 6], [7, -0.8]]], atol=1e-6)


def test_residual_adds_to_its_input_and_leaves_it_alone() -> None:
    torch.manual_seed(0)
    block = Residual(2)
    torch.nn.init.zeros_(block.second.weight)
    torch.nn.init.zeros_(block.second.bias)
    image = torch.randn(1, 2, 4, 4)
    before = image.clone()
    np.testing.assert_allclose(block(image).detach().numpy(), leaky(before.numpy(), 0.2), atol=1e-6)
    assert torch.equal(image, before)


def test_bottleneck_is_two_dense_layers_without_activation() -> None:
    torch.manual_seed(0)
    block = Bottleneck(2 * 4 * 4, 3, 5, 4)
    a, b = torch.randn(2, 1, 2, 4, 4)
    zero = block(torch.zeros(1, 2, 4, 4))
    assert zero.shape == (1, 5, 4, 4)
    torch.testing.assert_close(block(a + b), block(a) + block(b) - zero, atol=1e-5, rtol=1e-5)


def test_encoder_and_decoder_meet() -> None:
    code = encoder(32, (4, 8, 16), code=6, channels=5, up=7)(torch.rand(2, 3, 32, 32))
    assert code.shape == (2, 7, 8, 8)
    for decoder in (Decoder(7, (6, 4), (3, 2), kernel=5), ResidualDecoder(7, (6,))):
        rgb, mask = decoder(code)
        assert (rgb.shape, mask.shape) == ((2, 3, 32, 32), (2, 1, 32, 32))


def test_gradients_are_those_of_finite_differences() -> None:
    """The activations work in place; that must not disturb the backward pass."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(Down(1, 2), Residual(2), Up(2, 1)).double()
    image = torch.rand(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, (image,))


def test_glorot_bounds_and_biases() -> None:
    torch.manual_seed(0)
    net = Up(8, 8)
    glorot_(net)
    bound = np.sqrt(6 / (9 * (8 + 32)))
    assert 0.95 * bound < net.conv.weight.abs().max() <= bound
    assert net.conv.bias is not None and not net.conv.bias.any()


def test_standardize_centers_grey_and_leaves_its_input_alone() -> None:
    image = torch.full((1, 3, 2, 2), 0.5)
    image[0, 0, 0, 0] = 1.0
    out = Standardize()(image)
    assert out[0, 0].flatten().tolist() == [2.0, 0.0, 0.0, 0.0]
    assert image.max() == 1.0


def test_he_weights_carry_the_signal_through_the_encoder() -> None:
    """Codes of different pictures differ about as much as the pictures do; with torch's defaults they hardly do."""
    torch.manual_seed(0)
    picture = torch.randn(8, 3, 64, 64)
    net = encoder(64, (16, 32, 64, 64), code=64, channels=64, up=64)
    with torch.no_grad():
        before = net(picture).std(0).mean()
        he_(net)
        after = net(picture).std(0).mean()
    assert after > 10 * before
    assert 0.1 < after < 10


def test_he_starts_residual_blocks_near_the_identity() -> None:
    torch.manual_seed(0)
    block, image = Residual(16), torch.randn(1, 16, 8, 8)
    he_(block)
    with torch.no_grad():
        change = block(image) - torch.nn.functional.leaky_relu(image, 0.2)
    assert 0 < change.std() < 0.2 * image.std()


def test_residual_decoder_starts_grey() -> None:
    torch.manual_seed(0)
    decoder = ResidualDecoder(16, (16, 16))
    he_(decoder)
    with torch.no_grad():
        rgb, mask = decoder(torch.randn(2, 16, 4, 4))
    assert (rgb - 0.5).abs().mean() < 0.1
    assert (mask - 0.5).abs().mean() < 0.1


def test_separable_down_is_a_down_whose_kernels_are_products() -> None:
    torch.manual_seed(0)
    for centered in (False, True):
        block, whole = SeparableDown(3, 4, centered=centered), Down(3, 4, centered=centered)
        # Output o sees channel c through the kernel of c, times the weight between c and o.
        kernels = block.depthwise.weight.detach()[:, 0] * block.pointwise.weight.detach()
        whole.conv.weight.data, whole.conv.bias.data = kernels, block.pointwise.bias.detach()
        image = torch.rand(2, 3, 8, 8)
        assert block(image).shape == (2, 4, 4, 4)
        torch.testing.assert_close(block(image), whole(image), atol=1e-5, rtol=1e-4)


def test_glorot_leaves_out_missing_biases() -> None:
    net = SeparableDown(4, 8)
    glorot_(net)
    assert net.depthwise.bias is None
    assert not net.pointwise.bias.any()
