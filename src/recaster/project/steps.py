"""The steps of a job. Each reads files and options and writes files; run again with the same, it does nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_config_path

import recaster
from recaster.device import choose_device
from recaster.errors import MissingError, UsageError
from recaster.faces.extract import extract_faces
from recaster.faces.faceset import FaceSet
from recaster.faces.journal import run_key
from recaster.faces.options import ExtractOptions
from recaster.faces.summary import ExtractSummary
from recaster.files import remove_leftovers, sha256_file
from recaster.merge.settings import MergeSettings, OutputOptions
from recaster.merge.stream import MergeSummary, merge_clip
from recaster.progress import SILENT, Progress
from recaster.project.models import chosen_name
from recaster.project.people import disclosures
from recaster.project.runs import choose_run, remember_run
from recaster.project.workspace import SIDES, Side, Workspace
from recaster.provenance.certificate import local_identity
from recaster.provenance.likeness import Disclosure
from recaster.provenance.manifest import Recipe
from recaster.provenance.sign import SignSummary, faceset_hash, sign
from recaster.train.controls import Controls

if TYPE_CHECKING:
    from recaster.train.summary import TrainSummary

RESULT, SHEET = "result.mp4", "contact_sheet.jpg"
RESULT_SUFFIXES = (".mp4", ".mov", ".mkv")


def extract(
    workspace: Workspace, side: Side, given: Mapping[str, Any] | None = None, progress: Progress = SILENT
) -> ExtractSummary:
    """Find the faces of one side's clip. ``given`` options replace the remembered ones and are remembered."""
    options = workspace.options(f"extract.{side}", ExtractOptions, given)
    workspace.remember(f"extract.{side}", options)
    disclosures(workspace, progress, [side])
    return extract_faces(workspace.source(side), workspace.aligned(side), options, progress)


def train(
    workspace: Workspace,
    model: str | None = None,
    given: Mapping[str, Any] | None = None,
    net_given: Mapping[str, Any] | None = None,
    progress: Progress = SILENT,
    *,
    name: str | None = None,
    preset: str | None = None,
    controls: Controls | None = None,
) -> TrainSummary:
    """Train a model on the two facesets, from its newest checkpoint on; all that was given is remembered.

    ``model`` is the architecture, ``name`` what the run is called (the same where it is not given), ``preset`` a set of
    options by device and goal, and ``controls`` what asks for saves and stops from other threads. Raises MissingError
    where faces have not been extracted.
    """
    from recaster.train.loop import train as run_training
    from recaster.train.processes import leading

    run = choose_run(workspace, name, model, preset, given, net_given)
    src, dst = (_faces(workspace, side) for side in SIDES)
    if leading():
        remember_run(workspace, run)
    disclosures(workspace, progress)
    return run_training(
        src,
        dst,
        workspace.model(run.name),
        run.architecture.name,
        run.options,
        run.net_options,
        progress,
        controls=controls,
    )


@dataclass(frozen=True)
class MergeReport:
    """A finished merge. ``merge`` and ``signature`` are None when nothing had changed since the last one."""

    output: Path
    merge: MergeSummary | None = None
    signature: SignSummary | None = None

    @property
    def skipped(self) -> bool:
        """Whether the result was there already."""
        return self.merge is None


def merge(
    workspace: Workspace,
    name: str | None = None,
    given: Mapping[str, Any] | None = None,
    output_given: Mapping[str, Any] | None = None,
    *,
    output: Path | None = None,
    device: str = "auto",
    morph: float | None = None,
    identity_folder: Path | None = None,
    progress: Progress = SILENT,
) -> MergeReport:
    """Render the new face into the target clip and sign the result; ``output`` is ``result.mp4`` by default.

    ``name`` is the training run to use, the last one by default; ``morph`` 0..1 how far the swap goes, for models that
    can stop half-way.

    Does nothing when the clip is there and nothing that it was made of has changed. Raises MissingError where there are
    no faces or no trained model, UsageError where ``output`` cannot be it.
    """
    from recaster.swap.trained import load_swapper

    model = chosen_name(workspace, name)
    result = _result(workspace, output)
    settings = workspace.options("merge", MergeSettings, given)
    written = workspace.options("output", OutputOptions, output_given)
    workspace.remember("merge", settings)
    workspace.remember("output", written)
    target, (_, faces) = workspace.source("dst"), (_faces(workspace, side) for side in SIDES)
    likeness = disclosures(workspace, progress)
    swapper = load_swapper(workspace.model(model), choose_device(device), morph)
    _note_what_is_left_out(faces, workspace.model(model), swapper.descriptor.iteration, progress)
    recipe = Recipe(
        settings_sha256=settings.key(),
        faceset_sha256=faceset_hash(workspace.aligned("src")),
        model=model,
        iteration=swapper.descriptor.iteration,
    )
    ingredients = {**_ingredients(workspace, recipe, written, likeness, result), "morph": morph}
    done = workspace.state("merge")
    if done.get("ingredients") == ingredients and result.is_file() and sha256_file(result) == done.get("sha256"):
        return MergeReport(result)
    unsigned = workspace.folder / ".recaster" / f"unsigned{result.suffix}"
    remove_leftovers(unsigned.parent)
    try:
        summary = merge_clip(target, faces, swapper, settings, unsigned, output_options=written, progress=progress)
        signature = sign(
            unsigned,
            result,
            identity=local_identity(identity_folder or default_identity_folder()),
            version=recaster.__version__,
            recipe=recipe,
            parent=target if target.is_file() else None,
            likeness=likeness,
        )
    finally:
        unsigned.unlink(missing_ok=True)
    workspace.note_state("merge", {"ingredients": ingredients, "sha256": sha256_file(result)})
    return MergeReport(result, replace(summary, output=result), signature)


def _ingredients(
    workspace: Workspace, recipe: Recipe, written: OutputOptions, likeness: Sequence[Disclosure], result: Path
) -> dict[str, Any]:
    """All that a result depends on: as long as this is the same, the result is."""
    return {
        **asdict(recipe),
        "software": recaster.__version__,
        "written": written.key(),
        "target": run_key(workspace.source("dst"), ExtractOptions()),
        "target_faces": faceset_hash(workspace.aligned("dst")),
        "likeness": [asdict(item) for item in likeness],
        "output": result.name,
    }


def sheet(workspace: Workspace, *, result: Path | None = None, output: Path | None = None, frames: int = 8) -> Path:
    """Draw the contact sheet of the result, signed like the result itself; gives its path."""
    from recaster.project.sheet import contact_sheet

    made = output or workspace.folder / SHEET
    rate = workspace.options("output", OutputOptions).rate
    contact_sheet(
        _faces(workspace, "src"),
        _faces(workspace, "dst"),
        workspace.source("dst"),
        result or workspace.folder / RESULT,
        made,
        frames,
        picture_rate=Fraction(rate).limit_denominator(1001),
    )
    identity = local_identity(default_identity_folder())
    sign(made, made, identity=identity, version=recaster.__version__, likeness=disclosures(workspace, SILENT))
    return made


@dataclass(frozen=True)
class RunReport:
    """What :func:`run` came to, step by step."""

    src: ExtractSummary
    dst: ExtractSummary
    train: TrainSummary
    merge: MergeReport
    sheet: Path


def run(
    workspace: Workspace,
    model: str | None = None,
    given: Mapping[str, Any] | None = None,
    progress: Progress = SILENT,
    *,
    net_given: Mapping[str, Any] | None = None,
    name: str | None = None,
    preset: str | None = None,
    controls: Controls | None = None,
) -> RunReport:
    """Everything that is not done yet, with the options that the workspace remembers; the others are as in
    :func:`train`. A training without a target stops at the model's usual number of iterations.
    """
    found = {}
    for side in SIDES:
        found[side] = extract(workspace, side, progress=progress)
        _faces(workspace, side)
    chosen = choose_run(workspace, name, model, preset, given, net_given)
    if not chosen.options.iterations and not chosen.options.minutes:
        given = {**(given or {}), "iterations": chosen.architecture.usual_iterations}
    trained = train(workspace, model, given, net_given, progress, name=name, preset=preset, controls=controls)
    merged = merge(workspace, chosen.name, progress=progress)
    return RunReport(found["src"], found["dst"], trained, merged, _sheet_once(workspace))


def _note_what_is_left_out(faces: FaceSet, model: Path, iteration: int, progress: Progress) -> None:
    from recaster.train.checkpoint import paths_of

    for path, reason in faces.unreadable:
        progress.note(f"{path} is left out: {reason}")
    newest = paths_of(model)[-1]
    if int(newest.name) != iteration:
        progress.note(f"{newest}: the checkpoint is damaged; the one of iteration {iteration} is used")


def _sheet_once(workspace: Workspace) -> Path:
    """The contact sheet, drawn where there is none of this result."""
    note = {"result": workspace.state("merge").get("sha256")}
    if workspace.state("sheet") != note or not (workspace.folder / SHEET).is_file():
        sheet(workspace)
        workspace.note_state("sheet", note)
    return workspace.folder / SHEET


def default_identity_folder() -> Path:
    """Where this user's signing certificate lies."""
    return user_config_path("recaster") / "identity"


def _result(workspace: Workspace, output: Path | None) -> Path:
    result = output or workspace.folder / RESULT
    if result.suffix.lower() not in RESULT_SUFFIXES:
        raise UsageError("cannot be a video", where=result, mend=f"End its name in {', '.join(RESULT_SUFFIXES)}.")
    for side in SIDES:
        if result.exists() and result.samefile(workspace.source(side)):
            raise UsageError(f"the result would replace data_{side}", where=result, mend="Choose another output.")
    return result


def _faces(workspace: Workspace, side: Side) -> FaceSet:
    faces = FaceSet(workspace.aligned(side))
    if not len(faces):
        raise MissingError(
            f"there are no {side} faces",
            where=workspace.aligned(side),
            mend=f"Run recast extract {workspace.folder} {side}; if it found none, choose another clip or detector.",
        )
    return faces
