"""H64, H128, DF and LIAEF128."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recaster.nets.architecture import Batch, Phase, Rule, find_architecture
from recaster.nets.autoencoder import FaceNet, Reconstruction, SharedDecoderNet, TwoDecoderNet, parameter_count
from recaster.nets.blocks import Decoder, encoder
from recaster.types import Framing

MakeBatch = Callable[..., Batch]
Row = tuple[tuple[int, ...], int]
HALF, FULL = Framing.HALF, Framing.FULL
JOINT, ALTERNATING = ("h64", "h128"), ("df", "liaef128")


H64_ENCODER = [
    ((32, 32, 128), 9_728),
    ((16, 16, 256), 819_456),
    ((8, 8, 512), 3_277_312),
    ((4, 4, 1024), 13_108_224),
    ((1024,), 16_778_240),
    ((16384,), 16_793_600),
    ((8, 8, 512), 18_876_416),
]
H64_DECODER = [
    ((16, 16, 512), 9_439_232),
    ((32, 32, 256), 4_719_616),
    ((64, 64, 128), 1_180_160),
    ((64, 64, 3), 9_603),
    ((16, 16, 256), 4_719_616),
    ((32, 32, 128), 1_180_160),
    ((64, 64, 64), 295_168),
    ((64, 64, 1), 1_601),
]
H64_LIGHT_ENCODER = [
    ((32, 32, 128), 9_728),
    ((16, 16, 256), 819_456),
    ((8, 8, 512), 3_277_312),
    ((4, 4, 768), 9_831_168),
    ((512,), 6_291_968),
    ((8192,), 4_202_496),
    ((8, 8, 256), 4_719_616),
]
H64_LIGHT_DECODER = [
    ((16, 16, 256), 2_360_320),
    ((32, 32, 128), 1_180_160),
    ((64, 64, 64), 295_168),
    ((64, 64, 3), 4_803),
    ((16, 16, 256), 2_360_320),
    ((32, 32, 128), 1_180_160),
    ((64, 64, 64), 295_168),
    ((64, 64, 1), 1_601),
]
DOWNS_128 = [
    ((64, 64, 128), 9_728),
    ((32, 32, 256), 819_456),
    ((16, 16, 512), 3_277_312),
    ((8, 8, 1024), 13_108_224),
]
DENSE_128 = [
    ((512,), 33_554_944),
    ((32768,), 16_809_984),
    ((16, 16, 512), 9_439_232),
]
DENSE_128_LIGHT = [
    ((256,), 16_777_472),
    ((16384,), 4_210_688),
    ((16, 16, 256), 2_360_320),
]
DENSE_LIAE = [
    ((256,), 16_777_472),
    ((32768,), 8_421_376),
    ((16, 16, 512), 9_439_232),
]
PICTURE_128 = [
    ((64, 64, 256), 4_719_616),
    ((128, 128, 128), 1_180_160),
    ((128, 128, 3), 9_603),
]
MASK_128 = [
    ((64, 64, 256), 4_719_616),
    ((128, 128, 128), 1_180_160),
    ((128, 128, 1), 3_201),
]
DECODER_128_LIGHT = [
    ((32, 32, 256), 2_360_320),
    ((64, 64, 128), 1_180_160),
    ((128, 128, 64), 295_168),
    ((128, 128, 3), 4_803),
    ((32, 32, 256), 2_360_320),
    ((64, 64, 128), 1_180_160),
    ((128, 128, 64), 295_168),
    ((128, 128, 1), 1_601),
]
DECODER_128 = [((32, 32, 512), 9_439_232), *PICTURE_128, ((32, 32, 512), 9_439_232), *MASK_128]
DECODER_LIAE = [((32, 32, 512), 18_876_416), *PICTURE_128, ((32, 32, 512), 18_876_416), *MASK_128]
DF_128 = {
    "encoder": ((3, 128, 128), [*DOWNS_128, *DENSE_128]),
    "decoder_src": ((512, 16, 16), DECODER_128),
    "decoder_dst": ((512, 16, 16), DECODER_128),
}
TABLES: dict[str, tuple[int, dict[str, tuple[tuple[int, ...], list[Row]]]]] = {
    "h64": (
        112_753_288,
        {
            "encoder": ((3, 64, 64), H64_ENCODER),
            "decoder_src": ((512, 8, 8), H64_DECODER),
            "decoder_dst": ((512, 8, 8), H64_DECODER),
        },
    ),
    "h64 light": (
        44_507_144,
        {
            "encoder": ((3, 64, 64), H64_LIGHT_ENCODER),
            "decoder_src": ((256, 8, 8), H64_LIGHT_DECODER),
            "decoder_dst": ((256, 8, 8), H64_LIGHT_DECODER),
        },
    ),
    "h128": (138_400_520, DF_128),
    "h128 light": (
        55_918_600,
        {
            "encoder": ((3, 128, 128), [*DOWNS_128, *DENSE_128_LIGHT]),
            "decoder_src": ((256, 16, 16), DECODER_128_LIGHT),
            "decoder_dst": ((256, 16, 16), DECODER_128_LIGHT),
        },
    ),
    "df": (138_400_520, DF_128),
    "liaef128": (
        136_056_068,
        {
            "encoder": ((3, 128, 128), DOWNS_128),
            "inter_AB": ((1024, 8, 8), DENSE_LIAE),
            "inter_B": ((1024, 8, 8), DENSE_LIAE),
            "decoder": ((2 * 512, 16, 16), DECODER_LIAE),
        },
    ),
}
"""Parameters of all, and for each part its input and the output and parameters of each of its layers."""


def without_memory(name: str, *, light: bool = False) -> FaceNet:
    kind = find_architecture(name)
    with torch.device("meta"):
        return kind.build(kind.options(**({"light": True} if light else {})))


@pytest.mark.parametrize("form", TABLES)
def test_layers(form: str, layer_rows: Callable[..., list[Row]]) -> None:
    (total, parts), (name, *light) = TABLES[form], form.split()
    net = without_memory(name, light=bool(light))
    assert parameter_count(net) == total
    assert (net.resolution, net.framing) == (64 if name == "h64" else 128, HALF if name in JOINT else FULL)
    assert [name for name, _ in net.named_children()] == list(parts)
    for part, (shape, rows) in parts.items():
        assert layer_rows(net.get_submodule(part), *shape) == rows


def test_initial_weights_are_glorot_uniform_with_zero_biases() -> None:
    torch.manual_seed(0)
    kind = find_architecture("h64")
    net = kind.build(kind.options(light=True))
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            field = layer.weight[0, 0].numel()
            bound = np.sqrt(6 / (field * (layer.weight.shape[0] + layer.weight.shape[1])))
            assert 0.9 * bound < layer.weight.abs().max() <= bound * 1.0001
            assert layer.bias is not None and not layer.bias.any()


class Painted(TwoDecoderNet):
    """Gives fixed pictures, so that the losses are known."""

    def __init__(self, side: int) -> None:
        super().__init__(side, Framing.FULL, nn.Identity(), nn.Identity(), nn.Identity())
        generator = torch.Generator().manual_seed(7)
        self.out = Reconstruction(*(torch.rand(2, c, side, side, generator=generator) for c in (3, 1, 3, 1)))

    def reconstruct(self, src: Tensor, dst: Tensor) -> Reconstruction:
        return self.out

    def reconstruct_src(self, src: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.out.src_rgb, self.out.src_mask

    def reconstruct_dst(self, dst: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.out.dst_rgb, self.out.dst_mask


def phases_of(name: str, net: FaceNet, **options: Any) -> dict[str, Phase]:
    kind = find_architecture(name)
    found = kind.phases(net, nn.ModuleDict(), kind.options(**options), random_warp=True)
    return {phase.name: phase for phase in found}


@pytest.mark.parametrize("by_pixel", [False, True])
@pytest.mark.parametrize("name", [*JOINT, *ALTERNATING])
def test_loss_values(name: str, by_pixel: bool, make_batch: MakeBatch, reference: Any) -> None:
    side = without_memory(name).resolution
    batch, net = make_batch(side), Painted(side)
    exact = {
        f.name: getattr(batch, f.name).double().numpy() for f in fields(batch) if getattr(batch, f.name) is not None
    }
    out = {f.name: getattr(net.out, f.name).double().numpy() for f in fields(net.out)}
    picture, mask = {}, {}
    for person in ("src", "dst"):
        target, truth = exact[f"target_{person}"], exact[f"mask_{person}"]
        if by_pixel:
            soft = reference.blur(truth, side // 64)
            picture[person] = np.mean(50 * (target * soft - out[f"{person}_rgb"] * soft) ** 2)
        else:
            picture[person] = 10 * reference.dssim(target * truth, out[f"{person}_rgb"] * truth, 11).mean()
        error = np.abs(out[f"{person}_mask"] - truth)
        mask[person] = (error if name in JOINT else error**2).mean()
    phases = phases_of(name, net, pixel_loss=by_pixel)
    if name in JOINT:
        losses = phases["all"].losses(batch, 0.0)
        assert float(losses.total) == pytest.approx(sum(picture.values()) + sum(mask.values()), rel=1e-5)
        assert float(losses.src) == pytest.approx(picture["src"], rel=1e-5)
        assert float(losses.dst) == pytest.approx(picture["dst"], rel=1e-5)
    else:
        src, dst = (phases[person].losses(batch, 0.0) for person in ("src", "dst"))
        assert float(src.total) == float(src.src) == pytest.approx(picture["src"] + mask["src"], rel=1e-5)
        assert float(dst.total) == float(dst.dst) == pytest.approx(picture["dst"] + mask["dst"], rel=1e-5)
        assert src.dst is None and dst.src is None


def test_what_lies_outside_the_mask_is_free(make_batch: MakeBatch) -> None:
    batch, net = make_batch(64), Painted(64)
    losses = phases_of("h64", net)["all"].losses
    before = losses(batch, 0.0)
    net.out.src_rgb.mul_(batch.mask_src)
    after = losses(batch, 0.0)
    assert torch.equal(before.src, after.src)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h64", {"all": ["encoder", "decoder_src", "decoder_dst"]}),
        ("h128", {"all": ["encoder", "decoder_src", "decoder_dst"]}),
        ("df", {"src": ["encoder", "decoder_src"], "dst": ["encoder", "decoder_dst"]}),
        (
            "liaef128",
            {"src": ["encoder", "inter_AB", "decoder"], "dst": ["encoder", "inter_AB", "inter_B", "decoder"]},
        ),
    ],
)
def test_phases_move_these_parts_by_this_rule(name: str, expected: dict[str, list[str]]) -> None:
    phases = phases_of(name, without_memory(name))
    assert list(phases) == list(expected)
    for phase in phases.values():
        assert list(dict.fromkeys(weight.split(".")[0] for weight in phase.weights)) == expected[phase.name]
        assert phase.rule == Rule("adam", 5e-5, betas=(0.5, 0.999), eps=1e-7)


def small_liae() -> SharedDecoderNet:
    """Every part adds a number of its own to its input, so that the way of the data can be read from the result."""

    class Plus(nn.Module):
        def __init__(self, amount: float) -> None:
            super().__init__()
            self.amount = nn.Parameter(torch.tensor(amount))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.amount

    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(1.0))

        def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
            first, second = code.chunk(2, 1)
            return self.gain * first, self.gain * second[:, :1]

    return SharedDecoderNet(8, Framing.FULL, Plus(0.0), Plus(0.01), Plus(0.02), Halves())


def test_codes_of_liae() -> None:
    """The source is [AB, AB], the destination [B, AB], the swap [AB, AB] of the destination."""
    net = small_liae()
    src, dst = torch.full((1, 3, 8, 8), 0.2), torch.full((2, 3, 8, 8), 0.5)
    out = net.reconstruct(src, dst)
    rgb, mask, mask_dst = net.swap(dst)
    assert out.src_mask is not None and out.dst_mask is not None and mask is not None and mask_dst is not None
    for values, expected in (
        (out.src_rgb, 0.21),
        (out.src_mask, 0.21),
        (out.dst_rgb, 0.52),
        (out.dst_mask, 0.51),
        (rgb, 0.51),
        (mask, 0.51),
        (mask_dst, 0.51),
    ):
        torch.testing.assert_close(values, torch.full_like(values, expected))


def test_swap_of_two_decoders_is_the_sources_of_the_destinations_code() -> None:
    torch.manual_seed(0)
    decoders = [Decoder(4, (4,), (2,), kernel=5) for _ in range(2)]
    net = TwoDecoderNet(16, Framing.HALF, encoder(16, (4, 4), code=4, channels=4, up=4), *decoders)
    dst = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        code = net.encoder(dst)
        expected = (*net.decoder_src(code), net.decoder_dst(code)[1])
        for mine, theirs in zip(net.swap(dst), expected, strict=True):
            assert mine is not None and torch.equal(mine, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*JOINT, *ALTERNATING])
def test_a_few_iterations_lower_the_loss_by_a_third(
    name: str, real_batch: Callable[[int, Framing], Batch], train_on: Callable[..., list[float]]
) -> None:
    kind = find_architecture(name)
    torch.manual_seed(0)
    net = kind.build(kind.options())
    faces = real_batch(net.resolution, net.framing)
    one = Batch(*(getattr(faces, field.name)[:1] for field in fields(faces)))
    totals = train_on(kind, net, kind.options(), one, 16, until=lambda _, totals: totals[-1] < totals[0] * 2 / 3)
    assert totals[-1] < totals[0] * 2 / 3
