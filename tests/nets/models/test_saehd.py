from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recaster.errors import UsageError
from recaster.nets.architecture import Batch, Losses, Phase
from recaster.nets.autoencoder import FaceNet, Reconstruction, parameter_count
from recaster.nets.hd_nets import CodedNet, Codes, DfNet, LiaeNet
from recaster.nets.losses import dssim
from recaster.nets.models.saehd import Saehd, SaehdOptions
from recaster.options import from_mapping
from recaster.types import Framing

MakeBatch = Callable[..., Batch]
SMALL = {"resolution": 64, "ae_dims": 32, "e_dims": 16, "d_dims": 16, "d_mask_dims": 16}

ENCODER_128 = [
    ((64, 64, 64), 4_864),
    ((32, 32, 128), 204_928),
    ((16, 16, 256), 819_456),
    ((8, 8, 512), 3_277_312),
]
DECODER_UD_128 = [
    ((16, 16, 512), 4_719_616),
    ((32, 32, 256), 4_719_616),
    ((32, 32, 256), 1_180_160),
    ((64, 64, 128), 1_180_160),
    ((64, 64, 128), 295_168),
    ((128, 128, 3), 10_764),
]
MASK_UD_128 = [
    ((32, 32, 88), 557_920),
    ((64, 64, 44), 139_568),
    ((128, 128, 22), 34_936),
    ((128, 128, 1), 23),
]
TABLES: dict[str, dict[str, Any]] = {
    "liae-ud": {
        "options": {},
        "vector": 32_768,
        "code": (8, 1024),
        "encoder": ENCODER_128,
        "inter": [((256,), 8_388_864), ((8_192,), 2_105_344), ((8, 8, 512), 9_439_232)],
        "decoder": [
            ((16, 16, 512), 18_876_416),
            *DECODER_UD_128,
            ((16, 16, 176), 6_488_768),
            *MASK_UD_128,
        ],
        "parts": (4_306_560, 19_933_440, 38_203_115),
        "total": 82_376_555,
    },
    "df-ud": {
        "options": {"architecture": "df-ud"},
        "vector": 32_768,
        "code": (8, 256),
        "encoder": ENCODER_128,
        "inter": [((256,), 8_388_864), ((4_096,), 1_052_672), ((8, 8, 256), 2_360_320)],
        "decoder": [
            ((16, 16, 512), 4_720_640),
            *DECODER_UD_128,
            ((16, 16, 176), 1_622_720),
            *MASK_UD_128,
        ],
        "parts": (4_306_560, 11_801_856, 19_181_291),
        "total": 54_470_998,
    },
    "df": {
        "options": {"architecture": "df"},
        "vector": 32_768,
        "code": (16, 256),
        "encoder": ENCODER_128,
        "inter": [((256,), 8_388_864), ((16_384,), 4_210_688), ((16, 16, 256), 2_360_320)],
        "decoder": [
            ((32, 32, 512), 4_720_640),
            ((32, 32, 512), 4_719_616),
            ((64, 64, 256), 4_719_616),
            ((64, 64, 256), 1_180_160),
            ((128, 128, 128), 1_180_160),
            ((128, 128, 128), 295_168),
            ((128, 128, 3), 387),
            ((32, 32, 176), 1_622_720),
            ((64, 64, 88), 557_920),
            ((128, 128, 44), 139_568),
            ((128, 128, 1), 45),
        ],
        "parts": (4_306_560, 14_959_872, 19_136_000),
        "total": 57_538_432,
    },
    "liae-udt": {
        "options": {
            "architecture": "liae-udt",
            "resolution": 256,
            "ae_dims": 384,
            "e_dims": 92,
            "d_dims": 72,
            "d_mask_dims": 22,
        },
        "vector": 47_104,
        "code": (8, 1536),
        "encoder": [
            ((128, 128, 92), 6_992),
            ((128, 128, 92), 152_536),
            ((64, 64, 184), 423_384),
            ((32, 32, 368), 1_693_168),
            ((16, 16, 736), 6_771_936),
            ((8, 8, 736), 13_543_136),
            ((8, 8, 736), 9_752_000),
        ],
        "inter": [((384,), 18_088_320), ((49_152,), 18_923_520)],
        "decoder": [
            ((16, 16, 576), 31_852_800),
            ((16, 16, 576), 5_973_120),
            ((32, 32, 576), 11_946_240),
            ((32, 32, 576), 5_973_120),
            ((64, 64, 288), 5_973_120),
            ((64, 64, 288), 1_493_568),
            ((128, 128, 144), 1_493_568),
            ((128, 128, 144), 373_536),
            ((256, 256, 3), 12_108),
            ((16, 16, 176), 9_732_800),
            ((32, 32, 176), 1_115_840),
            ((64, 64, 88), 557_920),
            ((128, 128, 44), 139_568),
            ((256, 256, 22), 34_936),
            ((256, 256, 1), 23),
        ],
        "parts": (32_343_152, 37_011_840, 76_672_267),
        "total": 183_039_099,
    },
}


def build_without_memory(**values: Any) -> DfNet | LiaeNet:
    with torch.device("meta"):
        net = Saehd().build(SaehdOptions(**values))
    assert isinstance(net, DfNet | LiaeNet)
    return net


@pytest.mark.parametrize("name", TABLES)
def test_layers(name: str, layer_rows: Callable[..., Any]) -> None:
    table = TABLES[name]
    net = build_without_memory(**table["options"])
    side, channels = table["code"]
    if isinstance(net, LiaeNet):
        inters, decoders = [net.inter_AB, net.inter_B], [net.decoder]
    else:
        inters, decoders = [net.inter], [net.decoder_src, net.decoder_dst]
    assert layer_rows(net.encoder, 3, net.resolution, net.resolution) == table["encoder"]
    assert all(layer_rows(inter, table["vector"]) == table["inter"] for inter in inters)
    assert all(layer_rows(decoder, channels, side, side) == table["decoder"] for decoder in decoders)
    counts = [parameter_count(part) for part in (net.encoder, *inters, *decoders)]
    encoder, inter, decoder = table["parts"]
    assert counts == [encoder, *[inter] * len(inters), *[decoder] * len(decoders)]
    assert parameter_count(net) == table["total"] == sum(counts)


def test_more_pixels_need_more_weights_only_in_the_dense_layers() -> None:
    assert parameter_count(build_without_memory(resolution=224)) == 125_664_107


ALL_LETTERS = ["".join(letters) for count in range(5) for letters in combinations("udtc", count)]


@pytest.mark.parametrize("kind", ["df", "liae"])
@pytest.mark.parametrize("letters", ALL_LETTERS)
@pytest.mark.parametrize("resolution", [96, 112])
def test_every_architecture_draws_pictures_of_its_size(kind: str, letters: str, resolution: int) -> None:
    architecture = f"{kind}-{letters}" if letters else kind
    net = build_without_memory(**{**SMALL, "resolution": resolution, "architecture": architecture})
    side = 96 if "d" in letters else resolution
    assert net.resolution == side
    src, dst = (torch.empty(count, 3, side, side, device="meta") for count in (1, 2))
    out = net.reconstruct(src, dst)
    assert [tuple(each.shape) for each in (out.src_rgb, out.src_mask, out.dst_rgb, out.dst_mask)] == [
        (1, 3, side, side),
        (1, 1, side, side),
        (2, 3, side, side),
        (2, 1, side, side),
    ]
    assert [len(each) for each in net.swap(dst)] == [2, 2, 2]


@pytest.mark.parametrize(
    ("text", "architecture"),
    [
        *((f"{kind}-{letters}" if letters else kind,) * 2 for kind in ("df", "liae") for letters in ALL_LETTERS),
        ("liae-du", "liae-ud"),
        ("df-ctdu", "df-udtc"),
        (" LIAE-UD ", "liae-ud"),
    ],
)
def test_known_architectures(text: str, architecture: str) -> None:
    assert SaehdOptions(architecture=text).architecture == architecture


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "ud",
        "-ud",
        "df-",
        "liae-",
        "vg",
        "sae",
        "dfud",
        "df ud",
        "df_ud",
        "df--ud",
        "df-uu",
        "df-udu",
        "df-x",
        "liae-udx",
        "liae-u-d",
        "liae-u,d",
        "liaed-u",
        "df-ud ud",
        "df-udtcc",
        "df-ü",
    ],
)
def test_unknown_architectures(text: str) -> None:
    with pytest.raises(UsageError, match="'architecture': df or liae, with or without - and some of the letters u, d"):
        from_mapping(SaehdOptions, {"architecture": text})


def test_defaults_are_those_of_the_manual() -> None:
    assert SaehdOptions().to_mapping() == {
        "resolution": 128,
        "face_type": "full",
        "architecture": "liae-ud",
        "ae_dims": 256,
        "e_dims": 64,
        "d_dims": 64,
        "d_mask_dims": 0,
        "masked_training": True,
        "eyes_mouth_prio": False,
        "blur_out_mask": False,
        "adabelief": True,
        "lr_dropout": "off",
        "gan_power": 0.0,
        "gan_patch_size": 0,
        "gan_dims": 16,
        "true_face_power": 0.0,
        "face_style_power": 0.0,
        "background_style_power": 0.0,
        "clip_gradients": False,
    }
    assert Saehd().default_batch_size == 8


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("resolution", 64, 640),
        ("ae_dims", 32, 1024),
        ("e_dims", 16, 256),
        ("d_dims", 16, 256),
        ("d_mask_dims", 16, 256),
        ("gan_power", 0, 5),
        ("gan_patch_size", 3, 640),
        ("gan_dims", 4, 512),
        ("true_face_power", 0, 1),
        ("face_style_power", 0, 100),
        ("background_style_power", 0, 100),
    ],
)
def test_ranges(name: str, low: int, high: int) -> None:
    for value in (low, high):
        assert getattr(from_mapping(SaehdOptions, {name: value}), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(UsageError, match=f"option '{name}'"):
            from_mapping(SaehdOptions, {name: value})


@pytest.mark.parametrize(("name", "odd"), [("e_dims", 17), ("d_dims", 31), ("d_mask_dims", 21)])
def test_dimensions_are_made_even(name: str, odd: int) -> None:
    assert getattr(SaehdOptions(**{name: odd}), name) == odd + 1


def test_mask_dimensions_follow_the_decoders() -> None:
    def width(**values: int) -> int:
        return build_without_memory(architecture="liae", **values).decoder.mask[-2].in_channels // 2

    assert [width(), width(d_dims=72), width(d_dims=16), width(d_dims=72, d_mask_dims=23)] == [22, 24, 16, 24]


@pytest.mark.parametrize(
    ("architecture", "asked", "given"),
    [("df", 79, 64), ("df", 144, 144), ("liae-d", 144, 128), ("liae-ut", 80, 80), ("liae-udt", 639, 608)],
)
def test_resolution_is_rounded_down_to_what_can_be_halved(architecture: str, asked: int, given: int) -> None:
    assert build_without_memory(architecture=architecture, resolution=asked).resolution == given


@pytest.mark.parametrize(
    ("name", "framing"),
    [
        ("h", Framing.HALF),
        ("mf", Framing.MIDFULL),
        ("f", Framing.FULL),
        ("wf", Framing.WHOLE),
        *((framing.value, framing) for framing in Framing),
    ],
)
def test_face_types(name: str, framing: Framing) -> None:
    assert build_without_memory(face_type=name).framing is framing


def test_true_face_is_refused_without_a_decoder_for_each_person() -> None:
    options = SaehdOptions(**SMALL, true_face_power=0.01)
    with pytest.raises(UsageError, match=r"true_face_power needs a df architecture, and this one is liae-ud"):
        Saehd().critics(options, Saehd().build(options))


class Painted(CodedNet):
    """Gives fixed pictures, so that the losses are known."""

    def __init__(self, resolution: int) -> None:
        super().__init__(resolution, Framing.FULL)
        generator = torch.Generator().manual_seed(7)

        def picture(channels: int, side: int = resolution) -> Tensor:
            return torch.rand(2, channels, side, side, generator=generator)

        self.out = Reconstruction(picture(3), picture(1), picture(3), picture(1))
        self.swapped = picture(3), picture(1)
        src, dst = picture(SMALL["ae_dims"], 4) - 0.5, picture(SMALL["ae_dims"], 4) - 0.5
        self.painted_codes = Codes(src, dst, dst)

    def codes(self, src: Tensor, dst: Tensor) -> Codes:
        return self.painted_codes

    def decode(self, codes: Codes) -> Reconstruction:
        return self.out

    def src_code(self, pictures: Tensor) -> Tensor:
        return self.painted_codes.src

    def decode_src(self, code: Tensor) -> tuple[Tensor, Tensor]:
        return (self.out.src_rgb, self.out.src_mask) if code is self.painted_codes.src else self.swapped

    def swap(self, dst: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        raise NotImplementedError


def in_float64(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().double().numpy() for tensor in tensors]


def with_features(batch: Batch) -> Batch:
    return replace(batch, features_src=batch.mask_src * 0.5, features_dst=batch.mask_dst * batch.mask_src)


def phases_of(net: CodedNet, options: SaehdOptions) -> tuple[dict[str, Phase], nn.ModuleDict]:
    torch.manual_seed(0)
    critics = Saehd().critics(options, net)
    return {phase.name: phase for phase in Saehd().phases(net, critics, options, random_warp=True)}, critics


def painted_losses(batch: Batch, resolution: int = 64, **values: Any) -> Losses:
    net = Painted(resolution)
    phases, _ = phases_of(net, SaehdOptions(**{**SMALL, "resolution": resolution, **values}))
    return phases["generator"].losses(batch, 0.0)


@pytest.mark.parametrize(
    ("resolution", "values"),
    [
        (64, {}),
        (64, {"eyes_mouth_prio": True}),
        (64, {"blur_out_mask": True}),
        (64, {"face_type": "whole", "masked_training": False}),
        (64, {"masked_training": False}),
        (128, {}),
        (256, {}),
        (256, {"eyes_mouth_prio": True, "blur_out_mask": True, "face_type": "head", "masked_training": False}),
    ],
)
def test_loss_values(resolution: int, values: dict[str, Any], make_batch: MakeBatch, reference: Any) -> None:
    batch, out = with_features(make_batch(resolution)), Painted(resolution).out
    losses = painted_losses(batch, resolution, **values)
    expected = []
    for person in ("src", "dst"):
        target, mask, features = in_float64(*(getattr(batch, f"{k}_{person}") for k in ("target", "mask", "features")))
        rgb, learned = in_float64(getattr(out, f"{person}_rgb"), getattr(out, f"{person}_mask"))
        if values.get("blur_out_mask"):
            target = reference.blur_out(target, mask)
        wide = values.get("face_type", "full") in ("whole", "head") and not values.get("masked_training", True)
        weight = 1.0 if wide else reference.soft(mask)
        eyes = features if values.get("eyes_mouth_prio") else None
        expected.append(reference.face(rgb, learned, target, mask, weight, eyes, two_scales=resolution >= 256).mean())
    assert losses.src is not None and losses.dst is not None
    np.testing.assert_allclose([losses.src, losses.dst], expected, rtol=1e-4)
    np.testing.assert_allclose(losses.total.item(), sum(expected), rtol=1e-4)


def extra_loss(batch: Batch, **values: Any) -> float:
    """What the options add to the source's loss."""
    plain, more = painted_losses(batch), painted_losses(batch, **values)
    assert more.dst == plain.dst and more.src is not None and plain.src is not None
    assert more.total.item() == pytest.approx(more.src.item() + more.dst.item(), rel=1e-6)
    return (more.src - plain.src).item()


def test_value_of_the_face_style(make_batch: MakeBatch, reference: Any) -> None:
    net = Painted(64)
    (rgb, mask), (dst, dst_mask) = in_float64(*net.swapped), in_float64(net.out.dst_rgb, net.out.dst_mask)
    expected = 10_000 * 0.3 / 100 * reference.face_style(rgb * mask, dst * dst_mask).mean()
    assert extra_loss(make_batch(64), face_style_power=0.3) == pytest.approx(expected, rel=1e-3)


def test_value_of_the_background_style(make_batch: MakeBatch, reference: Any) -> None:
    """It lies outside the swap's own mask: the product of both learned masks, softened."""
    net, batch = Painted(64), make_batch(64)
    rgb, mask, dst_mask, target = in_float64(*net.swapped, net.out.dst_mask, batch.target_dst)
    outside = 1 - np.clip(reference.blur(mask * dst_mask, 2), 0, 1)
    a, b = rgb * outside, target * outside
    expected = 10 * 2.0 / 100 * (reference.dssim(a, b, 5) + reference.squares(a, b)).mean()
    assert extra_loss(batch, background_style_power=2.0) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("values", [{}, {"face_type": "whole", "masked_training": False}, {"blur_out_mask": True}])
def test_values_of_the_gan(values: dict[str, Any], make_batch: MakeBatch, reference: Any) -> None:
    net, batch = Painted(64), make_batch(64)
    options = SaehdOptions(**SMALL, **values, gan_power=0.1)
    phases, critics = phases_of(net, options)
    target, mask, rgb = in_float64(batch.target_src, batch.mask_src, net.out.src_rgb)
    if options.blur_out_mask:
        target = reference.blur_out(target, mask)
    weight = reference.soft(mask) if options.only_inside else np.ones_like(mask)
    critic = critics["patch"].double()
    real, made = ([*map(in_float64, critic(torch.from_numpy(image * weight)))] for image in (target, rgb))
    critic.float()
    judged = sum(
        0.5 * (reference.cross_entropy(a, real=True) + reference.cross_entropy(b, real=False))
        for (a,), (b,) in zip(real, made, strict=True)
    )
    passed = 0.1 * sum(reference.cross_entropy(logits, real=True) for (logits,) in made)
    if options.only_inside:
        outside = 1 - weight
        passed = passed + 1e-6 * reference.variation(rgb) + 0.02 * reference.squares(rgb * outside, target * outside)
    generator = phases["generator"].losses(batch, 0.0)
    assert generator.src is not None and generator.dst is not None
    assert (generator.total - generator.src - generator.dst).item() == pytest.approx(passed.mean(), rel=1e-3)
    losses = phases["patch_critic"].losses(batch, 0.0)
    assert losses.total.item() == pytest.approx(judged.mean(), rel=1e-4)
    assert losses.src is None and losses.dst is None


def test_values_of_true_face(make_batch: MakeBatch, reference: Any) -> None:
    """The source's codes are to be taken for the destination's."""
    net, batch = Painted(64), make_batch(64)
    phases, critics = phases_of(net, SaehdOptions(**SMALL, architecture="df-ud", true_face_power=0.5))
    ((src,), (dst,)) = (in_float64(*critics["code"](code)) for code in (net.painted_codes.src, net.painted_codes.dst))
    passed = 0.5 * reference.cross_entropy(src, real=True).mean()
    judged = 0.5 * (reference.cross_entropy(dst, real=True) + reference.cross_entropy(src, real=False)).mean()
    generator = phases["generator"].losses(batch, 0.0)
    assert generator.src is not None and generator.dst is not None
    assert (generator.total - generator.src - generator.dst).item() == pytest.approx(passed, rel=1e-3)
    assert phases["code_critic"].losses(batch, 0.0).total.item() == pytest.approx(judged, rel=1e-4)


def built(**values: Any) -> tuple[CodedNet, SaehdOptions]:
    options = SaehdOptions(**{**SMALL, **values})
    torch.manual_seed(0)
    net = Saehd().build(options)
    assert isinstance(net, CodedNet)
    return net, options


def gradients(net: FaceNet, total: Tensor) -> dict[str, Tensor]:
    """Of the weights that take part."""
    names, weights = zip(*net.named_parameters(), strict=True)
    found = torch.autograd.grad(total, weights, allow_unused=True, retain_graph=True)
    return {name: each for name, each in zip(names, found, strict=True) if each is not None}


def reach(batch: Batch, extra: dict[str, Any], **values: Any) -> set[str]:
    """The parts, with the kind of decoder, whose gradients change when the options ``extra`` are added."""
    changed = set()
    net, options = built(**values)
    plain, more = (phases_of(net, each)[0]["generator"] for each in (options, options.with_values(**extra)))
    before, after = (gradients(net, phase.losses(batch, 0.0).total) for phase in (plain, more))
    assert before.keys() == after.keys() == dict(net.named_parameters()).keys()
    for name, gradient in after.items():
        if not torch.allclose(gradient, before[name], rtol=1e-3, atol=1e-3 * before[name].abs().max().item()):
            part, kind = name.split(".")[:2]
            changed.add(f"{part}.{kind}" if part.startswith("decoder") else part)
    return changed


DF, LIAE = {"architecture": "df-ud"}, {"architecture": "liae-ud"}


@pytest.mark.parametrize(
    ("values", "extra", "parts"),
    [
        (DF, {"face_style_power": 50.0}, {"decoder_src.rgb"}),
        (LIAE, {"face_style_power": 50.0}, {"decoder.rgb"}),
        (DF, {"background_style_power": 100.0}, {"encoder", "inter", "decoder_src.rgb"}),
        (LIAE, {"background_style_power": 100.0}, {"encoder", "inter_AB", "decoder.rgb"}),
        (DF, {"true_face_power": 1.0}, {"encoder", "inter"}),
        (DF, {"gan_power": 5.0}, {"encoder", "inter", "decoder_src.rgb"}),
        (LIAE, {"gan_power": 5.0}, {"encoder", "inter_AB", "decoder.rgb"}),
    ],
)
def test_what_learns_from_what(
    values: dict[str, Any], extra: dict[str, Any], parts: set[str], make_batch: MakeBatch
) -> None:
    assert reach(make_batch(64), extra, **values) == parts


@pytest.mark.parametrize(
    ("values", "src", "dst"),
    [
        (DF, {"encoder", "inter", "decoder_src"}, {"encoder", "inter", "decoder_dst"}),
        (LIAE, {"encoder", "inter_AB", "decoder"}, {"encoder", "inter_AB", "inter_B", "decoder"}),
    ],
)
def test_what_each_person_teaches(values: dict[str, Any], src: set[str], dst: set[str], make_batch: MakeBatch) -> None:
    net, _ = built(**values)
    batch = make_batch(64)
    out = net.reconstruct(batch.warped_src, batch.warped_dst)
    for picture, parts in ((out.src_rgb, src), (out.dst_rgb, dst)):
        found = gradients(net, picture.sum())
        assert {name.split(".")[0] for name, each in found.items() if each.abs().sum() > 0} == parts


def test_critics_teach_nobody_but_themselves(make_batch: MakeBatch) -> None:
    net, options = built(**DF, true_face_power=1.0, gan_power=1.0)
    phases, critics = phases_of(net, options)
    for name in ("code", "patch"):
        phase = phases[f"{name}_critic"]
        phase.losses(make_batch(64), 0.0).total.backward()  # type: ignore[no-untyped-call]
        assert all(weight.grad is None for weight in net.parameters())
        assert all(weight.grad is not None for weight in phase.weights.values())
        assert phase.weights.keys() == {f"{name}.{key}" for key, _ in critics[name].named_parameters()}


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({}, ["generator"]),
        ({"gan_power": 0.1}, ["generator", "patch_critic"]),
        ({**DF, "true_face_power": 0.1}, ["generator", "code_critic"]),
        ({**DF, "true_face_power": 0.1, "gan_power": 0.1}, ["generator", "code_critic", "patch_critic"]),
    ],
)
def test_order_of_the_phases(values: dict[str, Any], names: list[str]) -> None:
    net, options = built(**values)
    assert list(phases_of(net, options)[0]) == names


@pytest.mark.parametrize(("kind", "resting"), [("df", set()), ("liae", {"inter_AB"})])
def test_inter_ab_rests_without_random_warp(kind: str, resting: set[str]) -> None:
    net, options = built(architecture=kind)
    for random_warp in (True, False):
        (phase,) = Saehd().phases(net, nn.ModuleDict(), options, random_warp=random_warp)
        moved = {name.split(".")[0] for name in phase.weights}
        parts = {name for name, _ in net.named_children()}
        assert moved == (parts if random_warp else parts - resting)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({}, {"kind": "adabelief", "betas": (0.9, 0.999), "keep": 1.0, "cosine_period": 0, "clip": 0.0}),
        ({"adabelief": False}, {"kind": "rmsprop", "betas": (0.0, 0.9)}),
        ({"lr_dropout": "on"}, {"keep": 0.3, "cosine_period": 500, "draw_on_host": False}),
        ({"lr_dropout": "cpu"}, {"keep": 0.3, "cosine_period": 500, "draw_on_host": True}),
        ({"clip_gradients": True}, {"clip": 1.0}),
    ],
)
def test_rules(values: dict[str, Any], rule: dict[str, Any]) -> None:
    net, options = built(**DF, **values, true_face_power=0.1, gan_power=0.1)
    for phase in phases_of(net, options)[0].values():
        assert phase.rule.learning_rate == 5e-5 and phase.rule.eps == 1e-6
        assert {name: getattr(phase.rule, name) for name in rule} == rule


def test_samples_vary_widely_and_show_eyes_and_mouth_where_they_count() -> None:
    needs = Saehd().needs(SaehdOptions())
    assert needs.scale == pytest.approx((0.8696, 1.15), abs=1e-4)
    assert not needs.features and not needs.replay_every
    assert Saehd().needs(SaehdOptions(eyes_mouth_prio=True)).features


def test_pretraining_leaves_out_what_concerns_two_people() -> None:
    late = {"gan_power": 0.1, "true_face_power": 0.1, "face_style_power": 1.0, "background_style_power": 1.0}
    options = SaehdOptions(**DF, lr_dropout="on", eyes_mouth_prio=True, **late)
    assert Saehd().pretraining(options) == SaehdOptions(**DF, eyes_mouth_prio=True)


@pytest.mark.parametrize(("kind", "parts"), [("df", {"inter"}), ("liae", {"inter_AB", "inter_B"})])
def test_inters_are_personal(kind: str, parts: set[str]) -> None:
    assert set(built(architecture=kind)[0].personal) == parts


@pytest.mark.parametrize(
    ("values", "critic", "widths"),
    [
        ({"gan_power": 1.0}, "patch", [16, 32, 64]),
        ({"gan_power": 1.0, "gan_patch_size": 16}, "patch", [16, 32, 64, 128]),
        ({"gan_power": 1.0, "gan_dims": 4, "gan_patch_size": 32}, "patch", [4, 8, 16, 32, 64]),
        ({**DF, "true_face_power": 1.0}, "code", [32, 256]),
        ({"architecture": "df", "true_face_power": 1.0}, "code", [32, 256, 512]),
        ({"architecture": "df-t", "true_face_power": 1.0}, "code", [32, 256]),
    ],
)
def test_size_of_the_critics(values: dict[str, Any], critic: str, widths: list[int]) -> None:
    net, options = built(**values)
    downs: Sequence[nn.Conv2d] = list(phases_of(net, options)[1][critic].downs)  # type: ignore[arg-type]
    assert [downs[0].in_channels, *(down.out_channels for down in downs)] == widths


def test_letters_change_what_is_computed() -> None:
    torch.manual_seed(0)
    picture = torch.rand(2, 3, 64, 64)

    def values(letters: str) -> tuple[Tensor, Tensor]:
        net, _ = built(architecture=f"df{letters}")
        with torch.no_grad():
            return net.get_submodule("encoder")(picture), net.swap(picture)[0]

    (plain, drawn), (unit, _), (_, waves) = values(""), values("-u"), values("-c")
    torch.testing.assert_close(unit * (plain.square().mean(1, keepdim=True) + 1e-6).sqrt(), plain)
    assert (waves - drawn).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["df", "liae"])
def test_swap_is_neither_its_input_nor_the_reconstruction(kind: str, make_batch: MakeBatch) -> None:
    net, _ = built(architecture=f"{kind}-udtc")
    batch = make_batch(64)
    with torch.no_grad():
        rgb, mask, mask_dst = net.swap(batch.warped_dst)
        out = net.reconstruct(batch.warped_dst, batch.warped_dst)
    assert (rgb - batch.warped_dst).abs().mean() > 0.05
    assert (rgb - out.dst_rgb).abs().max() > 1e-3
    torch.testing.assert_close((rgb, mask, mask_dst), (out.src_rgb, out.src_mask, out.dst_mask))


def test_the_shared_batch_gives_what_each_person_alone_gives(make_batch: MakeBatch) -> None:
    batch = make_batch(64)
    for values in (DF, LIAE):
        net, _ = built(**values)
        with torch.no_grad():
            together = net.reconstruct(batch.warped_src, batch.warped_dst[:1])
            alone = net.decode_src(net.src_code(batch.warped_src))
        torch.testing.assert_close((together.src_rgb, together.src_mask), alone)
        assert len(together.dst_rgb) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "adabelief", "rate"),
    [("liae-ud", True, 2e-4), ("df-udt", False, 4e-4), ("df-dc", False, 2e-4), ("liae-dtc", False, 2e-4)],
)
def test_sixteen_real_faces_are_learned(
    architecture: str,
    adabelief: bool,
    rate: float,
    real_batch: Callable[..., Batch],
    overfit: Callable[..., tuple[float, float]],
) -> None:
    net, options = built(architecture=architecture, adabelief=adabelief, ae_dims=64)
    batch = real_batch(64, Framing.FULL)
    assert max(overfit(net, phases_of(net, options)[0]["generator"], batch, rate)) < 0.05
    with torch.no_grad():
        swap, _, _ = net.swap(batch.warped_dst)
    assert (dssim(swap * batch.mask_dst, batch.target_dst * batch.mask_dst) > 0.05).all()
