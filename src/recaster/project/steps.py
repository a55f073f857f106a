"""The steps of a job. Each reads files and options and writes files; run again with the same, it does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import recaster
from recaster.errors import MissingError
from recaster.faces.extract import ExtractSummary, extract_faces
from recaster.faces.faceset import FaceSet
from recaster.faces.options import ExtractOptions
from recaster.files import remove_leftovers, sha256_file
from recaster.merge.settings import MergeSettings, OutputOptions
from recaster.merge.stream import MergeSummary, merge_clip
from recaster.nets.architecture import find_architecture
from recaster.progress import SILENT, Progress
from recaster.project.models import remember_model
from recaster.project.people import disclosures
from recaster.project.workspace import SIDES, Side, Workspace

if TYPE_CHECKING:
    from recaster.train.loop import TrainSummary


def extract(
    workspace: Workspace, side: Side, given: Mapping[str, Any] | None = None, progress: Progress = SILENT
) -> ExtractSummary:
    """Find the faces of one side's clip. ``given`` options replace the remembered ones and are remembered."""
    options = workspace.options(f"extract.{side}", ExtractOptions, given)
    workspace.remember(f"extract.{side}", options)
    return extract_faces(workspace.source(side), workspace.aligned(side), options, progress)


def train(
    workspace: Workspace,
    model: str,
    given: Mapping[str, Any] | None = None,
    net_given: Mapping[str, Any] | None = None,
    progress: Progress = SILENT,
) -> TrainSummary:
    """Train ``model`` on the two facesets, from its newest checkpoint on; all that was given is remembered.

    Raises MissingError where faces have not been extracted.
    """
    from recaster.train.loop import train as run_training

    net_type = find_architecture(model).options
    options = workspace.options("train", TrainOptions, given)
    net_options = workspace.options(f"train.{model}", net_type, net_given)
    remember_model(workspace, model)
    workspace.remember("train", options)
    workspace.remember(f"train.{model}", net_options)
    src, dst = (_faces(workspace, side) for side in SIDES)
    return run_training(src, dst, workspace.model(model), model, options, net_options, progress)


@dataclass(frozen=True)
class MergeReport:
    """A finished merge: the ``merge`` itself (None when nothing had changed since), and the ``signature``."""

    output: Path
    skipped: bool
    merge: MergeSummary | None
    signature: SignSummary | None


def merge(
    workspace: Workspace,
    model: str,
    given: Mapping[str, Any] | None = None,
    output_given: Mapping[str, Any] | None = None,
    *,
    output: Path | None = None,
    identity_folder: Path | None = None,
    progress: Progress = SILENT,
) -> MergeReport:
    """Render the new face into the target clip and sign the result; ``output`` is ``result.mp4`` by default.

    Does nothing when the clip is there and nothing that it was made of has changed. Raises MissingError where there are
    no faces or no trained model.
    """
    from recaster.swap.trained import load_swapper

    settings = workspace.options("merge", MergeSettings, given)
    written = workspace.options("output", OutputOptions, output_given)
    workspace.remember("merge", settings)
    workspace.remember("output", written)
    target, faces = workspace.source("dst"), _faces(workspace, "dst")
    result = output or workspace.folder / "result.mp4"
    likeness = disclosures(workspace, progress)
    swapper = load_swapper(workspace.model(model))
    recipe = {
        "software": recaster.__version__,
        "model": model,
        "iteration": swapper.descriptor.iteration,
        "settings": settings.key(),
        "written": written.key(),
        "faces": faceset_hash(workspace.aligned("dst")),
        "source_faces": faceset_hash(workspace.aligned("src")),
        "target": source_identity(target),
        "likeness": [disclosure.record_sha256 for disclosure in likeness],
    }
    state = workspace.state("merge")
    if state.get("recipe") == recipe and _is_file(result, state):
        return MergeReport(result, True, None, None)
    unsigned = workspace.folder / ".recaster" / f"unsigned{result.suffix}"
    try:
        summary = merge_clip(target, faces, swapper, settings, unsigned, progress, output_options=written)
        signature = sign(...)
    finally:
        unsigned.unlink(missing_ok=True)
    workspace.note_state("merge", {"recipe": recipe, "output": str(result), "sha256": sha256_file(result)})
    return MergeReport(result, False, summary, signature)
