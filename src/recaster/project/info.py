"""All that is known about a path: a workspace, clip, face, faceset, or trained model."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np

from recaster.errors import InputError
from recaster.faces.embed import read_record
from recaster.faces.faceset import FACE_SUFFIXES, FaceSet, StoredFace
from recaster.faces.record import FaceRecord
from recaster.files import list_pictures
from recaster.media.info import probe
from recaster.project.people import person_of
from recaster.project.workspace import SETTINGS, SIDES, Workspace
from recaster.train.checkpoint import BACKUPS, FOLDER, STATE, DamagedError, file_of, latest, paths_of, read_state


def describe(path: Path) -> dict[str, Any]:
    """What ``path`` is (key ``kind``) and what is known about it. Raises InputError where it is nothing of ours."""
    if not path.exists():
        raise InputError("there is no such file or folder", where=path, mend="Check the path.")
    if path.is_dir():
        return _folder(path)
    record = read_record(path) if path.suffix.lower() in FACE_SUFFIXES else None
    return _face(path, record) if record else _clip(path)


def _folder(path: Path) -> dict[str, Any]:
    if (path / SETTINGS).is_file():
        return _workspace(Workspace.open(path))
    if (path / FOLDER).is_dir():
        return _model(path)
    if (path / STATE).is_file():
        return _checkpoint(path)
    faces = FaceSet(path)
    if len(faces):
        return _faceset(faces)
    if list_pictures(path):
        return _clip(path)
    raise InputError("this folder holds no workspace, model, faces or pictures", where=path, mend="Give another path.")


def _workspace(workspace: Workspace) -> dict[str, Any]:
    models = sorted(folder for folder in (workspace.folder / "model").glob("*") if (folder / FOLDER).is_dir())
    result = workspace.folder / "result.mp4"
    return {
        "kind": "workspace",
        "path": workspace.folder,
        **{side: _side(workspace, side) for side in SIDES},
        "models": {folder.name: _model(folder) for folder in models},
        "options": tomllib.loads(workspace.settings_file.read_text(encoding="utf-8")),
        "result": result if result.is_file() else None,
    }


def _side(workspace: Workspace, side: Any) -> dict[str, Any]:
    person = person_of(workspace, side)
    return {
        "clip": workspace.source(side),
        "likeness": f"{person.state}" + (f" ({person.basis})" if person.basis != "not stated" else ""),
        "faces": len(FaceSet(workspace.aligned(side))),
    }


def _clip(path: Path) -> dict[str, Any]:
    info = probe(path)
    color = info.color
    return {
        "kind": info.kind,
        "path": path,
        "size": f"{info.width} x {info.height}",
        "frames": info.frames,
        "rate": round(float(info.rate), 3),
        "variable rate": info.variable_rate,
        "seconds": round(float(info.duration), 3),
        "codec": f"{info.codec}, {info.pixel_format}, {info.bit_depth} bit",
        "rotation": info.rotation,
        "color": ", ".join([color.matrix, color.primaries, color.transfer, "full" if color.full_range else "limited"]),
        "audio": [
            f"{a.codec} {a.rate} Hz, {a.channels} channels" + (f", {a.language}" if a.language else "")
            for a in info.audio
        ],
    }


def _face(path: Path, record: FaceRecord) -> dict[str, Any]:
    face = StoredFace(path, record).face
    pose = face.pose
    return {
        "kind": "face",
        "path": path,
        "frame": record.frame,
        "source": record.source,
        "framing": record.framing,
        "size": record.size,
        "box": [round(float(edge), 1) for edge in record.box],
        "score": round(record.score, 3),
        "quality": round(record.quality, 4),
        "pose": {"yaw": round(pose.yaw, 1), "pitch": round(pose.pitch, 1), "roll": round(pose.roll, 1)},
        "landmarks": face.landmarks.origin,
        "software": record.software,
    }


def _faceset(faces: FaceSet) -> dict[str, Any]:
    table = faces.table()
    yaw, pitch = table.pose[:, 0], table.pose[:, 1]
    return {
        "kind": "faceset",
        "path": faces.folder,
        "faces": len(faces),
        "frames": len(np.unique(table.frame)),
        "sources": sorted({stored.record.source for stored in faces}),
        "framings": sorted({stored.record.framing for stored in faces}),
        "sizes": sorted({stored.record.size for stored in faces}),
        "yaw": f"{yaw.min():.0f} to {yaw.max():.0f} degrees",
        "pitch": f"{pitch.min():.0f} to {pitch.max():.0f} degrees",
        "not faces": [f"{path.name}: {reason}" for path, reason in faces.unreadable],
    }


def _model(folder: Path) -> dict[str, Any]:
    newest = latest(folder)
    return {
        "kind": "model",
        "path": folder,
        "checkpoints": [path.name for path in paths_of(folder)],
        "backups": [path.name for path in paths_of(folder, BACKUPS)],
        "newest": None if newest is None else _checkpoint(newest.path),
    }


def _checkpoint(path: Path) -> dict[str, Any]:
    try:
        state = read_state(path)
    except DamagedError as error:
        raise InputError("the checkpoint is damaged", where=path, mend="Use the one before it.") from error
    shown = ("architecture", "iteration", "seconds", "net_options", "train_options", "batch_size", "execution")
    return {
        "kind": "checkpoint",
        "path": path,
        **{name: getattr(state, name) for name in shown},
        "averaged": file_of("average") in state.files,
        "learning rate": f"times {state.rate:g} after {state.rollbacks} rollbacks" if state.rollbacks else "as chosen",
        "pretraining": state.pretrained,
        "bytes": sum(file.stat().st_size for file in path.iterdir() if file.is_file()),
    }
