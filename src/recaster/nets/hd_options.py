"""Options that the high-definition models (SAEHD, AMP) share, each a field to put into their options."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from recaster.nets.architecture import Rule, SampleNeeds
from recaster.options import option

SHORT_NAMES = {"h": "half", "mf": "mid-full", "f": "full", "wf": "whole"}


def _even(value: int) -> int:
    return value + value % 2


def _zero_or_from(lowest: int) -> AfterValidator:
    def check(value: int) -> int:
        if 0 < value < lowest:
            raise PydanticCustomError("too_small", "0 or at least {lowest}", {"lowest": lowest})
        return value

    return AfterValidator(check)


Even = Annotated[int, AfterValidator(_even)]
"""Odd numbers become the next even one."""
MaskDims = Annotated[int, _zero_or_from(16), AfterValidator(_even)]
PatchSize = Annotated[int, _zero_or_from(3)]
LongName = BeforeValidator(lambda name: SHORT_NAMES.get(str(name), str(name)))
"""Framings may be given by their short names too: h, mf, f, wf."""
LrDropout = Literal["off", "on", "cpu"]


def resolution(default: int) -> Any:
    """The field of the model's resolution."""
    return option(
        default,
        "Resolution: side of the square the model works on. More gives more detail, and needs memory and time as its"
        " square. Rounded down to a multiple of 16 or 32, as the network needs it.",
        ge=64,
        le=640,
        unit="px",
        fixed=True,
    )


AE_DIMS: Any = option(
    256,
    "AutoEncoder dimensions: all that is known of a face is packed into this many numbers. With too few, small things"
    " such as closed eyes get lost; more need more memory.",
    ge=32,
    le=1024,
    fixed=True,
)
E_DIMS: Any = option(
    64,
    "Encoder dimensions: more recognise more features of a face and give a sharper result, for more memory.",
    ge=16,
    le=256,
    fixed=True,
)
D_DIMS: Any = option(64, "Decoder dimensions: more give finer detail, for more memory.", ge=16, le=256, fixed=True)
D_MASK_DIMS: Any = option(
    0,
    "Decoder mask dimensions, 0 or 16 and more; 0 takes a third of the decoder's. More keep the edges of masks with"
    " hand-cut obstacles.",
    ge=0,
    le=256,
    fixed=True,
)
BLUR_OUT_MASK: Any = option(
    False,
    "Blur out mask: smooth what lies just outside the mask in the faces to learn, so that nothing there disturbs the"
    " edge. The masks must be exact, drawn or segmented.",
)
LR_DROPOUT: Any = option(
    "off",
    "Use learning rate dropout, late in a training: sharper results and less shake. Before random warp goes off and"
    " before GAN; cpu draws its random numbers in RAM, slower but with less memory on the device.",
)
GAN_POWER: Any = option(
    0.0,
    "GAN power: fine detail of skin by a second network that judges the faces; typically 0.1. The last stage of a"
    " training, after random warp is off; too much gives artefacts, and it should not be switched off again.",
    ge=0.0,
    le=5.0,
)
GAN_PATCH_SIZE: Any = option(
    0,
    "GAN patch size, 0 or 3 and more: how much of a face the judge sees at once; 0 takes an eighth of the resolution."
    " More gives better quality, for more memory.",
    ge=0,
    le=640,
    unit="px",
)
GAN_DIMS: Any = option(
    16, "GAN dimensions: the width of the judge. More may bring out more detail, for more memory.", ge=4, le=512
)
CLIP_GRADIENTS: Any = option(False, "Enable gradient clipping: a model collapses less often, at some cost in speed.")


def mask_dims(d_mask_dims: int, d_dims: int) -> int:
    """The width of mask decoders: as chosen, or a third of the picture decoders'."""
    return d_mask_dims or max(16, _even(d_dims // 3))


def gan_patch_size(chosen: int, resolution: int) -> int:
    """How large a patch the judge looks at, in px: as chosen, or an eighth of the resolution."""
    return chosen or resolution // 8


def rule(kind: Literal["adabelief", "rmsprop"], lr_dropout: LrDropout, clip_gradients: bool) -> Rule:
    """How the weights of a high-definition model follow their gradients."""
    dropout = lr_dropout != "off"
    return Rule(
        kind,
        5e-5,
        betas=(0.9, 0.999) if kind == "adabelief" else (0.0, 0.9),
        eps=1e-6,
        keep=0.3 if dropout else 1.0,
        draw_on_host=lr_dropout == "cpu",
        clip=1.0 if clip_gradients else 0.0,
        cosine_period=500 if dropout else 0,
    )


def needs(*, features: bool) -> SampleNeeds:
    """Samples whose size varies more than usual."""
    return SampleNeeds(scale=(1 / 1.15, 1.15), features=features)
