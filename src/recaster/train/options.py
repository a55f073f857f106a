"""What can be chosen for a training run, whatever the architecture."""

from __future__ import annotations

from typing import Literal

from recaster.options import Options, option


class TrainOptions(Options):
    """Options of the training itself; those of the network are the architecture's own."""

    iterations: int = option(
        0,
        "Stop when the model has seen this many iterations, counted over all sessions; 0 goes on until it is stopped.",
        ge=0,
        unit="iterations",
    )
    minutes: float = option(
        0.0,
        "Stop when the model has been trained for this long, counted over all sessions; 0 is no limit.",
        ge=0.0,
        unit="minutes",
    )
    batch_size: int = option(
        0,
        "Faces of each person in one iteration; 0 takes the architecture's own number. More is steadier, slower and"
        " needs more memory.",
        ge=0,
        le=1024,
        unit="faces",
    )
    preview_every: int = option(
        500, "Draw a new preview picture after this many iterations; 0 draws none.", ge=0, unit="iterations"
    )
    preview_history: bool = option(
        False, "Keep every preview, named by its iteration, so that the training can be watched as a film."
    )
    random_flip: bool = option(
        True,
        "Mirror faces at random. Without it the result can look more natural, but the source must then show every"
        " direction that the target looks to.",
    )
    random_warp: bool = option(
        True,
        "Distort the faces that the network sees, so that it learns expressions and not pictures. Switch it off only"
        " late in a training, for sharper detail.",
    )
    src_scale: int = option(
        0,
        "Scale the source's faces. Reduce it when the source's face is wider than the target's.",
        ge=-30,
        le=30,
        unit="%",
    )
    match_colors: bool = option(
        True,
        "Give the source's faces the colors of random target faces while training, so that the model learns the"
        " target's light and the seam disappears.",
    )
    save_every_minutes: float = option(15.0, "Save after this much time; 0 is never.", ge=0.0, unit="minutes")
    save_every: int = option(
        0,
        "Save after this many iterations as well, and keep those saves at the end; 0 is never.",
        ge=0,
        unit="iterations",
    )
    keep: int = option(3, "How many of the newest saves stay on the disk.", ge=1, le=1000, unit="saves")
    device: str = option("auto", "Where to compute: auto, cpu, cuda, cuda:1, mps.", advanced=True)
    threads: int = option(
        0, "Processor threads; 0 leaves the number as it is, one for each core.", ge=0, unit="threads", advanced=True
    )
    seed: int = option(0, "Start of all random numbers of a new model.", ge=0, le=2**63 - 1, advanced=True)
    warp: Literal["independent", "transposed"] = option(
        "independent",
        "Random distortion: x and y independent of each other, or one the mirror image of the other, as in models of"
        " older programs.",
        advanced=True,
    )
