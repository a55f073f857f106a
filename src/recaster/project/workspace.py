"""The folder a job lives in, with the names that users of such programs know.

::

    WORKSPACE/
      recast.toml              the options that were chosen, by step
      people/<name>.toml       a likeness record for each person
      data_src.<ext>           the source clip: the person whose face is used   (or pictures in data_src/)
      data_dst.<ext>           the target clip: the performance that stays      (or pictures in data_dst/)
      data_src/aligned/        faces of the source
      data_dst/aligned/        faces of the target
      data_dst/merged/         composited pictures, where they were asked for
      model/<name>/            checkpoints, previews and the loss of a training run
      result.<ext>             the finished, signed clip
      .recaster/               what each step has done, so that it need not be done twice

All paths inside are relative to the folder: it can be moved or renamed.
"""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import tomli_w

from recaster.errors import InputError, MissingError, UsageError
from recaster.files import atomic_path, list_pictures, storage_errors, write_text
from recaster.options import Options, from_mapping

Side = Literal["src", "dst"]
SIDES: tuple[Side, Side] = ("src", "dst")
SETTINGS = "recast.toml"
FORMAT = 1
TABLES = ("workspace", "people", "extract", "train", "merge", "output")

M = TypeVar("M", bound=Options)


@dataclass(frozen=True)
class Workspace:
    """A workspace on disk; every property is a path inside ``folder``."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Workspace:
        """The workspace in ``folder``.

        Raises MissingError where is none, InputError where it is too new, UsageError for a mistake in its settings.
        """
        if not (folder / SETTINGS).is_file():
            raise MissingError(
                f"this is not a workspace (it has no {SETTINGS})",
                where=folder,
                mend="Make one: recast new WORKSPACE --src VIDEO --dst VIDEO.",
            )
        workspace = cls(folder)
        written = workspace.section("workspace").get("format", FORMAT)
        if not isinstance(written, int) or written > FORMAT:
            raise InputError(
                f"written by a newer Recaster (format {written})", where=folder, mend="Update Recaster to open it."
            )
        workspace._check_tables()
        return workspace

    @property
    def settings_file(self) -> Path:
        """``recast.toml``."""
        return self.folder / SETTINGS

    @property
    def people(self) -> Path:
        """Folder of the likeness records."""
        return self.folder / "people"

    @property
    def merged(self) -> Path:
        """Folder of composited pictures."""
        return self.folder / "data_dst" / "merged"

    def aligned(self, side: Side) -> Path:
        """Folder of the faces of one side."""
        return self.folder / f"data_{side}" / "aligned"

    def model(self, name: str) -> Path:
        """Folder of the training run called ``name``."""
        return self.folder / "model" / name

    def source(self, side: Side) -> Path:
        """The clip of one side: ``data_src.<ext>``, or the folder ``data_src`` when pictures lie in it.

        Raises MissingError when there is neither.
        """
        found = self._source(side)
        if found is None:
            raise MissingError(
                f"no data_{side} clip",
                where=self.folder,
                mend=f"Put data_{side}.mp4, or pictures in data_{side}/, there.",
            )
        return found

    def _source(self, side: Side) -> Path | None:
        name = f"data_{side}"
        videos = sorted(
            path
            for path in self.folder.iterdir()
            if path.is_file() and path.stem.lower() == name and path.suffix.lower() != ".toml"
        )
        if videos:
            return videos[0]
        pictures = self.folder / name
        return pictures if pictures.is_dir() and list_pictures(pictures) else None

    def section(self, name: str) -> dict[str, Any]:
        """One table of ``recast.toml``, empty when it is not there; ``extract.src`` names a table inside a table."""
        table: Any = self._settings()
        for part in name.split("."):
            table = table.get(part, {})
            if not isinstance(table, dict):
                raise UsageError(f"[{name}] must be a table", where=self.settings_file)
        return dict(table)

    def options(self, section: str, model: type[M], given: Mapping[str, Any] | None = None) -> M:
        """The options of a step: what was given now, else what is remembered, else the defaults. Raises UsageError."""
        remembered = {name: value for name, value in self.section(section).items() if not _is_table(value)}
        from_mapping(model, remembered, where=f"{self.settings_file} [{section}]")
        return from_mapping(model, {**remembered, **(given or {})})

    def remember(self, section: str, options: Options) -> None:
        """Keep what differs from the defaults in ``recast.toml`` for the next run."""
        self.store(section, options.changed(), known=set(type(options).model_fields))

    def store(self, section: str, values: Mapping[str, Any], known: set[str] | None = None) -> None:
        """Replace the ``known`` keys (None: all but subtables) of one table by ``values``; written only on change."""
        settings = self._settings()
        table = settings
        for part in section.split("."):
            table = table.setdefault(part, {})
        kept = {
            name: value
            for name, value in table.items()
            if _is_table(value) or (known is not None and name not in known)
        }
        new = {**kept, **values}
        if new != table:
            table.clear()
            table.update(new)
            write_text(self.settings_file, tomli_w.dumps(_without_empty_tables(settings)))

    def _check_tables(self) -> None:
        """A misspelt table would be ignored in silence, with every option in it."""
        unknown = [name for name in self._settings() if name not in TABLES]
        unknown += [f"extract.{name}" for name in self.section("extract") if name not in SIDES]
        if unknown:
            raise UsageError(
                f"unknown entry [{unknown[0]}]",
                where=self.settings_file,
                mend="Known: workspace, people, extract.src, extract.dst, train, train.MODEL, merge, output.",
            )

    def _settings(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.settings_file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(
                f"is not valid TOML ({error})", where=self.settings_file, mend="Correct that line."
            ) from error

    def state(self, step: str) -> dict[str, Any]:
        """What a step noted when it finished; empty when it never did, or when the note is unreadable."""
        try:
            note = json.loads(self._state_file(step).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def note_state(self, step: str, note: Mapping[str, Any]) -> None:
        """Write what a step has finished."""
        write_text(self._state_file(step), json.dumps(note, indent=1, sort_keys=True) + "\n")

    def _state_file(self, step: str) -> Path:
        return self.folder / ".recaster" / f"{step}.json"


def create_workspace(folder: Path, src: Path | None, dst: Path | None) -> Workspace:
    """Make a workspace around two clips, each a video or a folder of pictures.

    Clips are linked where the disk allows it and copied elsewhere; the originals are never changed. Without ``src`` or
    ``dst`` the folder must already hold ``data_src.*`` or ``data_dst.*``. Raises UsageError when ``folder`` is a
    workspace already, InputError when a clip cannot be opened, StorageError; then a folder that was not there before is
    not there now.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError("this is a file", where=folder, mend="Give a folder for the workspace.")
    if (folder / SETTINGS).exists():
        raise UsageError("there is a workspace already", where=folder, mend="Choose another folder, or use this one.")
    clips: dict[Side, Path | None] = {"src": src, "dst": dst}
    for side, clip in clips.items():
        _check_clip(folder, side, clip)
    is_new = not folder.exists()
    try:
        _fill(folder, clips)
    except BaseException:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return Workspace(folder)


def _fill(folder: Path, clips: Mapping[Side, Path | None]) -> None:
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for side in SIDES:
            (folder / f"data_{side}" / "aligned").mkdir(parents=True, exist_ok=True)
        (folder / "model").mkdir(exist_ok=True)
    for side, clip in clips.items():
        if clip is not None:
            _bring(clip, folder, f"data_{side}")
    write_text(folder / SETTINGS, tomli_w.dumps({"workspace": {"format": FORMAT}}))


def _check_clip(folder: Path, side: Side, clip: Path | None) -> None:
    present = folder.is_dir() and Workspace(folder)._source(side) is not None
    if clip is None and not present:
        raise UsageError(f"--{side} is missing", mend=f"Give the {side} clip: a video or a folder of pictures.")
    if clip is None:
        return
    if present:
        raise UsageError(f"the folder already holds a data_{side} clip", where=folder, mend=f"Leave --{side} out.")
    if not clip.exists():
        raise InputError("there is no such file or folder", where=clip, mend="Check the path.")
    if not clip.is_dir():
        from recaster.media.container import open_input, video_stream

        with open_input(clip) as container:
            video_stream(container, clip)
    elif not list_pictures(clip):
        raise InputError("the folder holds no pictures (jpg, png, tif)", where=clip, mend="Give a folder of frames.")


def _bring(clip: Path, folder: Path, name: str) -> None:
    if clip.is_file():
        # A name without a suffix would be that of the folder of faces.
        _link_or_copy(clip, folder / f"{name}{clip.suffix.lower() or '.mp4'}")
        return
    for picture in list_pictures(clip):
        _link_or_copy(picture, folder / name / picture.name)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        with atomic_path(target) as part:
            shutil.copyfile(source, part)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _without_empty_tables(table: Mapping[str, Any]) -> dict[str, Any]:
    cleaned = {name: _without_empty_tables(value) if _is_table(value) else value for name, value in table.items()}
    return {name: value for name, value in cleaned.items() if value != {}}
