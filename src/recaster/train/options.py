"""What can be chosen for a training run, whatever the architecture."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from recaster.options import Options, option

ColorTransfer = Literal["none", "match", "rct", "lct", "mkl", "idt", "sot"]


class TrainOptions(Options):
    """Options of the training itself; those of the network are the architecture's own."""

    iterations: int = option(
        0,
        "Target iteration: stop when the model has seen this many, counted over all sessions; 0 goes on until it is"
        " stopped.",
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
    accumulate: int = option(
        1,
        "Compute each iteration in this many parts, one after the other: the same batch in less memory.",
        ge=1,
        le=1024,
        unit="parts",
    )
    auto_batch: bool = option(
        False, "When memory is out, go on with the same batch in twice as many parts instead of stopping."
    )
    preview_every: int = option(
        500, "Draw a new preview picture after this many iterations; 0 draws none.", ge=0, unit="iterations"
    )
    preview_history: bool = option(
        False, "Keep every preview, named by its iteration, so that the training can be watched as a film."
    )
    sort_by_yaw: bool = option(
        False,
        "Feed faces sorted by yaw: the source's faces are dealt by direction as the target's faces look, mirrored where"
        " the source lacks a side. For a source that shows many directions the target never takes.",
    )
    uniform_yaw: bool = option(
        False,
        "Deal all directions equally often: repairs blurry profiles when few faces show them.",
    )
    random_flip: bool = option(
        True,
        "Mirror faces at random. Without it the result can look more natural, but the source must then show every"
        " direction that the target looks to.",
    )
    random_flip_src: bool = option(
        True,
        "With random_flip, mirror the source's faces too. Without it the source keeps its asymmetries (a parting, a"
        " mole, a crooked smile).",
    )
    random_warp: bool = option(
        True,
        "Distort the faces that the network sees, so that it learns expressions and not pictures. Switch it off only"
        " late in a training, for sharper detail.",
    )
    random_hsv: float = option(
        0.0,
        "Change hue, saturation and light of the source's inputs at random, typically 0.05: steadier colors under"
        " changing light, if the source's own light is diverse.",
        ge=0.0,
        le=0.3,
    )
    src_scale: int = option(
        0,
        "Scale the source's faces. Reduce it when the source's face is wider than the target's.",
        ge=-30,
        le=30,
        unit="%",
    )
    color_transfer: ColorTransfer = option(
        "match",
        "Give the source's faces the colors of random target faces while training, so that the model learns the"
        " target's light and the seam disappears: match inside the masks, the whole crop by rct, lct, mkl, idt or sot,"
        " or none.",
    )
    learning_rate: float = option(0.0, "Learning rate; 0 takes the architecture's own.", ge=0.0, le=1.0, advanced=True)
    schedule: tuple[str, ...] = option(
        (),
        "Changes of options while the training runs, each as 'NAME=VALUE at ITERATION': random_warp=false at 30000,"
        " lr_dropout=on at 40000, gan_power=0.1 at 50000.",
        advanced=True,
    )
    ema: float = option(
        0.0,
        "Swap with an average of the weights over time instead of the last ones; 0.999 averages about the last thousand"
        " iterations, 0 is no average. Steadier results for one more copy of the weights.",
        ge=0.0,
        le=0.99999,
        advanced=True,
    )
    weights_from: str = option(
        "", "Begin with the weights of this model's folder, as far as their shapes match.", advanced=True
    )
    freeze: tuple[str, ...] = option(
        (), "Parts of the network that do not learn: encoder, inter_AB, decoder_src ...", advanced=True
    )
    pretrain: str = option(
        "",
        "Folder with faces of many people to learn faces in general from, before the two of this workspace; training"
        " without it afterwards starts the count anew and keeps what is common to all faces.",
        advanced=True,
    )
    save_every_minutes: float = option(15.0, "Save after this much time; 0 is never.", ge=0.0, unit="minutes")
    save_every: int = option(
        0,
        "Save after this many iterations as well, and keep those saves at the end; 0 is never.",
        ge=0,
        unit="iterations",
    )
    keep: int = option(3, "How many of the newest saves stay on the disk.", ge=1, le=1000, unit="saves")
    backup_every_hours: float = option(
        0.0,
        "Put a save aside as a backup after this much training; 0 is never. recast model restore goes back to one.",
        ge=0.0,
        le=24.0,
        unit="hours",
    )
    backups: int = option(24, "How many of the newest backups stay on the disk.", ge=1, le=1000, unit="backups")
    every: int = option(0, "Run a command after this many iterations; 0 is never.", ge=0, unit="iterations")
    run: str = option(
        "",
        "The command to run, with the model's folder and the iteration as its last words. It is not remembered, nor"
        " taken from a file: give it with every start.",
        advanced=True,
    )
    tensorboard: bool = option(False, "Write losses and previews for TensorBoard too.", advanced=True)
    device: str = option(
        "auto",
        "Where to compute: auto (the best), cpu, cuda, cuda:1, xpu, mps; several with commas share each batch.",
        advanced=True,
    )
    threads: int = option(
        0, "Processor threads; 0 leaves the number as it is, one for each core.", ge=0, unit="threads", advanced=True
    )
    optimizer_mode: int = option(
        1,
        "Where the optimizer works: 1 all on the device; 2 its memory in RAM, for models about twice as big; 3 its"
        " computation on the processor too, for models about three times as big, slower.",
        ge=1,
        le=3,
    )
    faces_on: Literal["auto", "device", "host"] = option(
        "auto", "Where the faces wait: in the device's memory, or in RAM where they do not fit.", advanced=True
    )
    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto", "Arithmetic of the network; auto measures which is faster on this device.", advanced=True
    )
    memory_format: Literal["auto", "contiguous", "channels_last"] = option(
        "auto", "Order of values in memory; auto measures which is faster.", advanced=True
    )
    compile: Literal["auto", "off", "default", "graphs"] = option(
        "auto",
        "Compile the network (graphs: with CUDA graphs); auto measures whether it is faster, and never does on a CPU.",
        advanced=True,
    )
    checkpoint_activations: bool = option(
        False, "Compute the network's values twice instead of keeping them: about a third slower, far less memory."
    )
    deterministic: bool = option(
        False, "The same numbers on every run on this machine, at some cost in speed.", advanced=True
    )
    seed: int = option(0, "Start of all random numbers of a new model.", ge=0, le=2**63 - 1, advanced=True)
    warp: Literal["independent", "transposed"] = option(
        "independent",
        "Random distortion: x and y independent of each other, or one the mirror image of the other, as in models of"
        " older programs.",
        advanced=True,
    )

    @field_validator("uniform_yaw")
    @classmethod
    def _one_way_by_yaw(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("sort_by_yaw"):
            raise PydanticCustomError("conflict", "cannot be on together with sort_by_yaw")
        return value
