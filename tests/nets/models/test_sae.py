from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recaster.errors import UsageError
from recaster.nets.architecture import Batch, Phase, Rule
from recaster.nets.autoencoder import FaceNet, parameter_count
from recaster.nets.blocks import he_
from recaster.nets.losses import dssim
from recaster.nets.models.sae import Sae, SaeOptions, mask_losses, picture_losses
from recaster.nets.sae import MirrorConv2d, SaeDf, SaeLiae, SaeNet, ScaledResidual, mirrored
from recaster.options import from_mapping
from recaster.types import Framing

MakeBatch = Callable[..., Batch]
Row = tuple[tuple[int, ...], int]

DOWNS = [
    ((64, 64, 126), 9_576),
    ((32, 32, 252), 794_052),
    ((16, 16, 504), 3_175_704),
    ((8, 8, 1008), 12_701_808),
]
PICTURE = [((64, 64, 252), 4_573_296), ((128, 128, 126), 1_143_576), ((128, 128, 3), 9_453)]
MASK = [((64, 64, 84), 508_368), ((128, 128, 42), 127_176), ((128, 128, 1), 1_051)]
PICTURE_DF = ((512, 16, 16), [((32, 32, 504), 9_291_744), *PICTURE])
MASK_DF = ((512, 16, 16), [((32, 32, 168), 3_097_248), *MASK])
INTER = ((1008, 8, 8), [((256,), 16_515_328), ((32_768,), 8_421_376), ((16, 16, 512), 9_439_232)])
TABLES: dict[str, tuple[int, dict[str, tuple[tuple[int, ...], list[Row]]]]] = {
    "df": (
        113_464_836,
        {
            "encoder": (
                (3, 128, 128),
                [*DOWNS, ((512,), 33_030_656), ((32_768,), 16_809_984), ((16, 16, 512), 9_439_232)],
            ),
            "decoder_src": PICTURE_DF,
            "decoder_dst": PICTURE_DF,
            "decoder_mask_src": MASK_DF,
            "decoder_mask_dst": MASK_DF,
        },
    ),
    "liae": (
        116_571_228,
        {
            "encoder": ((3, 128, 128), DOWNS),
            "inter_AB": INTER,
            "inter_B": INTER,
            "decoder": ((1024, 16, 16), [((32, 32, 504), 18_581_472), *PICTURE]),
            "decoder_mask": ((1024, 16, 16), [((32, 32, 168), 6_193_824), *MASK]),
        },
    ),
}
"""Parameters of all, and for each part its input and the output and parameters of each of its layers."""


def without_memory(**options: Any) -> SaeNet:
    with torch.device("meta"):
        net = Sae().build(SaeOptions(**options))
    assert isinstance(net, SaeNet)
    return net


def small(**options: Any) -> SaeOptions:
    """The smallest there is."""
    least: dict[str, Any] = {"resolution": 64, "ae_dims": 32, "e_ch_dims": 21}
    if options.get("architecture") != "vg":
        least["d_ch_dims"] = 10
    return SaeOptions(**{**least, **options})


def built(options: SaeOptions) -> SaeNet:
    torch.manual_seed(1)
    net = Sae().build(options)
    assert isinstance(net, SaeNet)
    return net


def phases_of(net: FaceNet, options: SaeOptions) -> dict[str, Phase]:
    return {phase.name: phase for phase in Sae().phases(net, nn.ModuleDict(), options, random_warp=True)}


@pytest.mark.parametrize("architecture", TABLES)
def test_layers(architecture: str, layer_rows: Callable[..., list[Row]]) -> None:
    total, parts = TABLES[architecture]
    net = without_memory(architecture=architecture)
    assert parameter_count(net) == total
    assert [name for name, _ in net.named_children()] == list(parts)
    for part, (shape, rows) in parts.items():
        assert layer_rows(net.get_submodule(part), *shape) == rows


def test_residual_blocks_and_scales_of_the_decoder(layer_rows: Callable[..., list[Row]]) -> None:
    net = without_memory(residual_blocks=True, multiscale_decoder=True)
    assert parameter_count(net) == 137_589_816
    outputs = [shape for shape, _ in layer_rows(net.get_submodule("decoder_src"), 512, 16, 16)]
    stages = [(32, 32, 504)] * 3, [(64, 64, 252)] * 3, [(128, 128, 126)] * 3
    assert outputs == [*stages[0], *stages[1], *stages[2], (32, 32, 3), (64, 64, 3), (128, 128, 3)]
    assert parameter_count(net.get_submodule("decoder_mask_src")) == 3_733_843


def test_lightweight_encoder_separates_the_second_and_the_fourth_convolution(
    layer_rows: Callable[..., list[Row]],
) -> None:
    rows = layer_rows(without_memory(lightweight_encoder=True).get_submodule("encoder"), 3, 128, 128)
    second = [((32, 32, 126), 25 * 126), ((32, 32, 252), 126 * 252 + 252)]
    fourth = [((8, 8, 504), 25 * 504), ((8, 8, 1008), 504 * 1008 + 1008)]
    assert rows[:6] == [DOWNS[0], *second, DOWNS[2], *fourth]


@pytest.mark.parametrize(("resolution", "last"), [(128, 4), (64, 2), (80, 3), (144, 5)])
@pytest.mark.parametrize("light", [False, True])
def test_layers_of_vg(resolution: int, last: int, light: bool, layer_rows: Callable[..., list[Row]]) -> None:
    net = without_memory(architecture="vg", resolution=resolution, lightweight_encoder=light)
    encoder = net.get_submodule("encoder")
    assert sum(isinstance(part, ScaledResidual) for part in encoder.modules()) == (8 if light else 16)
    assert all(part.scale.shape == (1,) for part in encoder.modules() if isinstance(part, ScaledResidual))
    shapes = [shape for shape, _ in layer_rows(encoder, 3, resolution, resolution)]
    half, quarter = resolution // 2, resolution // 4
    # Width 3 · 42 goes down to 124, a multiple of 4; a pixel shuffle makes 31 channels of 124.
    assert shapes[: 1 + (16 if light else 32)] == [(half, half, 124)] * (1 + (16 if light else 32))
    rest = shapes[1 + (16 if light else 32) :]
    assert rest[:3] == [(quarter, quarter, 124)] * 3
    assert (last, last, 8 * 124) in rest
    assert rest[-3:] == [
        (512,),
        (resolution // 16 * (resolution // 16) * 512,),
        (resolution // 8, resolution // 8, 512),
    ]
    # The widths are 3 · (42 // 2) and 42 / 1.5.
    for part, width, channels in (("decoder_src", 63, 3), ("decoder_mask_src", 28, 1)):
        shapes = [shape for shape, _ in layer_rows(net.get_submodule(part), 512, 8, 8)]
        assert shapes[0] == (16, 16, 8 * width)
        assert shapes[-1] == (64, 64, channels)


def test_scaled_residual_starts_as_a_tenth_of_a_change() -> None:
    torch.manual_seed(0)
    block, x = ScaledResidual(4), torch.randn(1, 4, 6, 6)
    leaky = nn.LeakyReLU(0.2)
    expected = leaky(x + 0.1 * block.second(leaky(block.first(leaky(x)))))
    torch.testing.assert_close(block(x), expected)


def test_dims_left_open_have_the_defaults_of_the_architecture() -> None:
    assert [SaeOptions(architecture=name).code_dims for name in ("df", "liae", "vg")] == [512, 256, 512]
    assert [SaeOptions(e_ch_dims=dims).decoder_dims for dims in (21, 42, 85)] == [10, 21, 42]
    assert (SaeOptions(ae_dims=698).code_dims, SaeOptions(d_ch_dims=51).decoder_dims) == (698, 51)


@pytest.mark.parametrize(("asked", "given"), [(64, 64), (79, 64), (80, 80), (255, 240), (256, 256)])
def test_resolution_goes_down_to_a_multiple_of_16(asked: int, given: int) -> None:
    assert SaeOptions(resolution=asked).resolution == given


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"resolution": 63}, "'resolution'.*64..256"),
        ({"resolution": 257}, "'resolution'.*64..256"),
        ({"ae_dims": 31}, "'ae_dims': input should be 0 or at least 32, got 31"),
        ({"ae_dims": 1025}, "'ae_dims'"),
        ({"e_ch_dims": 20}, "'e_ch_dims'"),
        ({"e_ch_dims": 86}, "'e_ch_dims'"),
        ({"d_ch_dims": 9}, "'d_ch_dims': input should be 0 or at least 10, got 9"),
        ({"d_ch_dims": 86}, "'d_ch_dims'"),
        ({"face_style_power": 101}, "'face_style_power'"),
        ({"architecture": "vg", "d_ch_dims": 20}, "'d_ch_dims': architecture vg has no such choice, got 20"),
        ({"architecture": "vg", "residual_blocks": True}, "'residual_blocks': architecture vg has no such choice"),
        ({"multiscale_decoder": True, "architecture": "vg"}, "'multiscale_decoder': architecture vg has no such"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        from_mapping(SaeOptions, values)


def test_framing_is_that_of_the_face_type() -> None:
    assert without_memory(face_type="half").framing == Framing.HALF
    assert without_memory().framing == Framing.FULL


def test_mirrored_repeats_the_edge() -> None:
    image = torch.arange(12.0).view(1, 1, 3, 4)
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), mode="symmetric")
    assert np.array_equal(mirrored(image, 2).numpy(), expected)


@pytest.mark.parametrize("architecture", ["df", "liae", "vg"])
@pytest.mark.parametrize("light", [False, True])
def test_no_convolution_sees_zeros_where_the_border_is_removed(architecture: str, light: bool) -> None:
    """A picture of one color stays one in every feature map, to its rim."""
    net = built(small(architecture=architecture, remove_gray_border=True, lightweight_encoder=light))
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            assert isinstance(layer, MirrorConv2d) or layer.kernel_size == (1, 1)
    seen: list[Tensor] = []
    encoder = net.get_submodule("encoder")
    for layer in encoder.modules():
        if isinstance(layer, MirrorConv2d):
            layer.register_forward_hook(lambda _, __, out: seen.append(out))
    with torch.no_grad():
        encoder(torch.full((1, 3, 64, 64), 0.7))
    # Behind the dense layers and behind a pixel shuffle places differ from each other.
    flat = seen if architecture == "liae" else seen[: -1 if architecture == "df" else -6]
    assert flat
    for out in flat:
        torch.testing.assert_close(out, out[..., :1, :1].expand_as(out), atol=1e-5, rtol=1e-4)


def test_initial_weights_are_glorot_uniform_with_zero_biases() -> None:
    net = built(small(lightweight_encoder=True))
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            # A depthwise kernel has one channel in, and gives one, for each channel there is.
            channels = (1, layer.weight.shape[0]) if getattr(layer, "groups", 1) > 1 else layer.weight.shape[:2]
            bound = np.sqrt(6 / (layer.weight[0, 0].numel() * sum(channels)))
            assert 0.8 * bound < layer.weight.abs().max() <= bound * 1.0001
            assert layer.bias is None or not layer.bias.any()


class Painted(SaeNet):
    """Gives fixed pictures and masks for the code of each person, and for the swap, so that the losses are known."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__(sizes[-1], Framing.FULL, nn.Identity())
        generator = torch.Generator().manual_seed(7)
        self.painted = {
            name: [torch.rand(2, 3, size, size, generator=generator) for size in sizes]
            for name in ("src", "dst", "swap")
        }
        self.masks = {name: torch.rand(2, 1, sizes[-1], sizes[-1], generator=generator) for name in ("src", "dst")}

    def codes(self, src: Tensor, dst: Tensor) -> tuple[Any, Any, Any]:
        return "src", "dst", "swap"

    def scales(self, person: str, code: Any) -> list[Tensor]:
        assert (person, code) in (("src", "src"), ("dst", "dst"), ("src", "swap"))
        return self.painted[code]

    def mask(self, person: str, code: Any) -> Tensor:
        assert person == code
        return self.masks[code]

    def code_src(self, features: Tensor) -> Tensor:
        raise NotImplementedError

    def codes_dst(self, features: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def decoders(self, person: str) -> tuple[nn.Module, nn.Module | None]:
        raise NotImplementedError


def shrunk(image: np.ndarray, size: int) -> np.ndarray:
    count, channels, side, _ = image.shape
    factor = side // size
    return image.reshape(count, channels, size, factor, size, factor).mean((3, 5))


@pytest.mark.parametrize("multiscale", [False, True])
@pytest.mark.parametrize("losses", ["modern", "original"])
@pytest.mark.parametrize("by_pixel", [False, True])
@pytest.mark.parametrize(("face", "background"), [(0.0, 0.0), (30.0, 0.0), (0.0, 40.0)])
def test_loss_values(
    multiscale: bool,
    losses: str,
    by_pixel: bool,
    face: float,
    background: float,
    make_batch: MakeBatch,
    reference: Any,
) -> None:
    options = small(
        resolution=80,
        multiscale_decoder=multiscale,
        losses=losses,
        pixel_loss=by_pixel,
        face_style_power=face,
        background_style_power=background,
    )
    batch = make_batch(80)
    net = Painted((20, 40, 80) if multiscale else (80,))
    exact = {field.name: getattr(batch, field.name).double().numpy() for field in fields(batch)}
    painted = {name: [image.double().numpy() for image in scales] for name, scales in net.painted.items()}

    def difference(a: np.ndarray, b: np.ndarray) -> float:
        if by_pixel:
            return float(100 * reference.squares(a, b).mean())
        structure = reference.dssim(a, b, 6)  # 80 / 11.6
        if losses == "original":
            return float(100 * structure.mean() ** 2)
        return float(10 * (structure + reference.squares(a, b)).mean())

    expected = {}
    for person in ("src", "dst"):
        expected[person] = 0.0
        for picture in painted[person]:
            size = picture.shape[-1]
            soft = reference.blur(shrunk(exact[f"mask_{person}"], size), max(1, size // 32))
            expected[person] += difference(shrunk(exact[f"target_{person}"], size) * soft, picture * soft)
    soft, target, swap = reference.blur(exact["mask_dst"], 2), exact["target_dst"], painted["swap"][-1]
    a, b = (reference.blur(image * soft, 5) for image in (swap, target))
    means = (a.mean((2, 3)) - b.mean((2, 3))) ** 2
    deviations = (np.sqrt(a.var((2, 3)) + 1e-5) - np.sqrt(b.var((2, 3)) + 1e-5)) ** 2
    style = ((means + deviations) / 3).sum()  # over two samples
    expected["src"] += face / 100 * style * (1 if losses == "original" else 2)
    expected["src"] += background / 100 * difference(swap * (1 - soft), target * (1 - soft))
    found = picture_losses(net, batch, options)
    assert float(found.src) == pytest.approx(expected["src"], rel=2e-5)
    assert float(found.dst) == pytest.approx(expected["dst"], rel=2e-5)
    assert float(found.total) == pytest.approx(expected["src"] + expected["dst"], rel=2e-5)


@pytest.mark.parametrize(
    ("losses", "multiscale", "weight"), [("modern", True, 1), ("original", True, 3), ("original", False, 1)]
)
def test_mask_loss_values(losses: str, multiscale: bool, weight: int, make_batch: MakeBatch, reference: Any) -> None:
    batch, net = make_batch(64), Painted((64,))
    found = mask_losses(net, batch, small(losses=losses, multiscale_decoder=multiscale))
    expected = sum(
        np.mean((net.masks[person].double().numpy() - getattr(batch, f"mask_{person}").double().numpy()) ** 2)
        for person in ("src", "dst")
    )
    assert float(found.total) == pytest.approx(weight * expected, rel=1e-5)
    assert found.src is None and found.dst is None


def test_modern_losses_do_not_depend_on_how_the_batch_is_parted(make_batch: MakeBatch) -> None:
    options = small(face_style_power=10.0, background_style_power=10.0, multiscale_decoder=True)
    net, batch = built(options), make_batch(64, 4)
    parts = [Batch(*(getattr(batch, field.name)[rows] for field in fields(batch))) for rows in (slice(2), slice(2, 4))]
    with torch.no_grad():
        whole, *halves = (picture_losses(net, part, options) for part in (batch, *parts))
    torch.testing.assert_close(whole.total, (halves[0].total + halves[1].total) / 2)


LIAE_PARTS = ["encoder", "inter_AB", "inter_B"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {},
            {
                "pictures": ["encoder", "decoder_src", "decoder_dst"],
                "masks": ["encoder", "decoder_mask_src", "decoder_mask_dst"],
            },
        ),
        ({"architecture": "liae"}, {"pictures": [*LIAE_PARTS, "decoder"], "masks": [*LIAE_PARTS, "decoder_mask"]}),
        ({"learn_mask": False}, {"pictures": ["encoder", "decoder_src", "decoder_dst"]}),
    ],
)
def test_phases_move_these_parts_by_this_rule(options: dict[str, Any], expected: dict[str, list[str]]) -> None:
    phases = phases_of(without_memory(**options), SaeOptions(**options))
    assert list(phases) == list(expected)
    for phase in phases.values():
        assert list(dict.fromkeys(weight.split(".")[0] for weight in phase.weights)) == expected[phase.name]
        assert phase.rule == Rule("adam", 5e-5, betas=(0.5, 0.999), eps=1e-7)


def gradients(net: SaeNet, losses: Any) -> dict[str, Tensor]:
    """Of each part, all in one row."""
    net.zero_grad()
    losses.total.backward()
    zeros = {name: [w.new_zeros(w.numel()) for w in part.parameters()] for name, part in net.named_children()}
    found = {name: [w.grad for w in part.parameters()] for name, part in net.named_children()}
    return {
        name: torch.cat([z if g is None else g.flatten() for z, g in zip(zeros[name], found[name], strict=True)])
        for name in found
    }


def reached(after: dict[str, Tensor], before: dict[str, Tensor]) -> set[str]:
    return {
        name for name in after if (after[name] - before[name]).abs().max() > 1e-6 * (1e-3 + after[name].abs().max())
    }


@pytest.mark.parametrize(
    ("architecture", "reach"),
    [
        (
            "df",
            {
                "src": {"encoder", "decoder_src"},
                "dst": {"encoder", "decoder_dst"},
                "face_style_power": {"encoder", "decoder_src"},
                "background_style_power": {"encoder", "decoder_src"},
                "masks": {"encoder", "decoder_mask_src", "decoder_mask_dst"},
            },
        ),
        (
            "liae",
            {
                "src": {"encoder", "inter_AB", "decoder"},
                "dst": {"encoder", "inter_AB", "inter_B", "decoder"},
                "face_style_power": {"encoder", "inter_AB", "decoder"},
                "background_style_power": {"encoder", "inter_AB", "decoder"},
                "masks": {"encoder", "inter_AB", "inter_B", "decoder_mask"},
            },
        ),
    ],
)
def test_gradients_reach(architecture: str, reach: dict[str, set[str]], make_batch: MakeBatch) -> None:
    options = small(architecture=architecture)
    net, batch = built(options), make_batch(64, 1)
    plain = gradients(net, picture_losses(net, batch, options))
    nothing = {name: torch.zeros_like(values) for name, values in plain.items()}
    found = {"masks": reached(gradients(net, mask_losses(net, batch, options)), nothing)}
    for person, other in (("src", "dst"), ("dst", "src")):
        blind = {field.name: getattr(batch, field.name) for field in fields(batch)}
        blind[f"mask_{other}"] = torch.zeros_like(batch.mask_src)
        found[person] = reached(gradients(net, picture_losses(net, Batch(**blind), options)), nothing)
    for power in ("face_style_power", "background_style_power"):
        styled = gradients(net, picture_losses(net, batch, options.with_values(**{power: 100.0})))
        found[power] = reached(styled, plain)
    assert found == reach


def test_swap_of_df_is_the_sources_decoder_on_the_destinations_code() -> None:
    net, dst = built(small()), torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert isinstance(net, SaeDf)
    with torch.no_grad():
        rgb, mask, mask_dst = net.swap(dst)
        code = net.encoder(dst)
        assert torch.equal(rgb, net.decoder_src(code)[-1])
        assert net.decoder_mask_src is not None and net.decoder_mask_dst is not None
        assert mask is not None and torch.equal(mask, net.decoder_mask_src(code)[-1])
        assert mask_dst is not None and torch.equal(mask_dst, net.decoder_mask_dst(code)[-1])


def test_codes_of_liae() -> None:
    """The source is [AB, AB], the destination [B, AB], the swap [AB, AB] of the destination."""
    net = built(small(architecture="liae"))
    src, dst = (torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(count)) for count in (1, 2))
    assert isinstance(net, SaeLiae) and net.decoder_mask is not None
    with torch.no_grad():
        ab_src, ab_dst = net.inter_AB(net.encoder(src)), net.inter_AB(net.encoder(dst))
        b_dst = net.inter_B(net.encoder(dst))
        code_src, code_dst, code_swap = net.codes(src, dst)
        torch.testing.assert_close(code_src, torch.cat([ab_src, ab_src], 1))
        torch.testing.assert_close(code_dst, torch.cat([b_dst, ab_dst], 1))
        torch.testing.assert_close(code_swap, torch.cat([ab_dst, ab_dst], 1))
        rgb, mask, mask_dst = net.swap(dst)
        torch.testing.assert_close(rgb, net.decoder(code_swap)[-1])
        torch.testing.assert_close(mask, net.decoder_mask(code_swap)[-1])
        torch.testing.assert_close(mask_dst, net.decoder_mask(code_dst)[-1])


CHANGES: dict[str, dict[str, Any]] = {
    "resolution": {"resolution": 80},
    "face_type": {"face_type": "half"},
    "learn_mask": {"learn_mask": False},
    "architecture": {"architecture": "liae"},
    "ae_dims": {"ae_dims": 33},
    "e_ch_dims": {"e_ch_dims": 22},
    "d_ch_dims": {"d_ch_dims": 11},
    "residual_blocks": {"residual_blocks": True},
    "remove_gray_border": {"remove_gray_border": True},
    "lightweight_encoder": {"lightweight_encoder": True},
    "multiscale_decoder": {"multiscale_decoder": True},
    "pixel_loss": {"pixel_loss": True},
    "face_style_power": {"face_style_power": 1.0},
    "background_style_power": {"background_style_power": 1.0},
    "losses": {"losses": "original"},
}


def character(options: SaeOptions, batch: Batch) -> tuple[Any, ...]:
    """What a network of these options is: where it looks, its weights, what it draws, and its losses."""
    net = built(options)
    shapes = {name: tuple(values.shape) for name, values in net.state_dict().items()}
    if options.resolution != batch.target_src.shape[-1]:
        return net.framing, shapes, (), ()
    with torch.no_grad():
        drawn = net.reconstruct(batch.target_src, batch.target_dst).src_rgb.mean().item()
        losses = [phase.losses(batch, 0.0).total.item() for phase in phases_of(net, options).values()]
    return net.framing, shapes, drawn, losses


def test_every_option_changes_something(make_batch: MakeBatch) -> None:
    assert set(CHANGES) == set(SaeOptions.model_fields)
    batch = make_batch(64, 1)
    usual = character(small(), batch)
    same = [name for name, values in CHANGES.items() if character(small(**values), batch) == usual]
    assert not same


def test_pretraining_has_no_styles() -> None:
    options = SaeOptions(face_style_power=1.0, background_style_power=2.0, pixel_loss=True, ae_dims=100)
    assert Sae().pretraining(options) == SaeOptions(pixel_loss=True, ae_dims=100)


def worst_dssim(net: FaceNet, batch: Batch) -> float:
    """The larger of both people's mean dissimilarity inside their masks."""
    with torch.no_grad():
        out = net.reconstruct(batch.target_src, batch.target_dst)
    src = dssim(out.src_rgb * batch.mask_src, batch.target_src * batch.mask_src).mean()
    dst = dssim(out.dst_rgb * batch.mask_dst, batch.target_dst * batch.mask_dst).mean()
    return max(src.item(), dst.item())


VARIANTS: list[dict[str, Any]] = [
    {},
    {"architecture": "liae"},
    {"architecture": "vg", "lightweight_encoder": True, "learn_mask": False},
    {"learn_mask": False, "losses": "original"},
    {"learn_mask": False, "pixel_loss": True},
    {"learn_mask": False, "residual_blocks": True},
    {"learn_mask": False, "multiscale_decoder": True},
    {"learn_mask": False, "remove_gray_border": True},
    {"learn_mask": False, "lightweight_encoder": True, "face_type": "half"},
    {"learn_mask": False, "face_style_power": 1.0, "background_style_power": 1.0},
]


def test_the_variants_name_every_option() -> None:
    named = {name for variant in VARIANTS for name in small(**variant).changed()}
    assert named == set(SaeOptions.model_fields)


@pytest.mark.slow
@pytest.mark.parametrize(
    "variant", VARIANTS, ids=lambda variant: " ".join(f"{name}={value}" for name, value in variant.items()) or "df"
)
def test_sixteen_real_faces_are_learned(
    variant: dict[str, Any], real_batch: Callable[..., Batch], train_on: Callable[..., list[float]]
) -> None:
    options = small(**variant)
    net = built(options)
    # From Glorot's weights it takes twice as long until one face is told from another.
    he_(net)
    batch = real_batch(64, net.framing)

    def learned(net: FaceNet, totals: list[float]) -> bool:
        return len(totals) % 10 == 0 and worst_dssim(net, batch) < 0.05

    train_on(Sae(), net, options, batch, 240, rate=5e-4, draw=2, until=learned)
    assert worst_dssim(net, batch) < 0.05
    with torch.no_grad():
        rgb, mask, _ = net.swap(batch.target_dst)
    assert (mask is not None) == options.learn_mask
    assert (dssim(rgb * batch.mask_dst, batch.target_dst * batch.mask_dst) > 0.05).all()
