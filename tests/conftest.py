"""Shared fixtures: one torch thread, and the real clips that lie beside the project."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")

# On a busy machine an example may take any time: slowness is no failure.
settings.register_profile("recaster", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("recaster")

CLIPS = Path(os.environ.get("RECASTER_CLIPS", Path(__file__).parents[2] / "shared" / "clips"))
INTEROP = Path(os.environ.get("RECASTER_INTEROP", Path(__file__).parents[2] / "shared" / "interop"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two busy threads on two busy cores are slower than one."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips; tests that need it skip where it is missing."""
    if not CLIPS.is_dir():
        pytest.skip(f"no real clips at {CLIPS} (set RECASTER_CLIPS)")
    return CLIPS


@pytest.fixture(scope="session")
def own_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """This user's settings, and so the signing certificate, lie in a folder of the tests."""
    folder = tmp_path_factory.mktemp("settings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def short_clips(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Twelve frames of a woman, without sound, and of a man, with sound; names with a space and other scripts."""
    from recaster.media.reader import FrameReader
    from recaster.media.writer import FrameWriter

    folder = tmp_path_factory.mktemp("clips") / "Aufnahmen für 映画"
    folder.mkdir()
    made = []
    for name, cut, sound in (("woman_expressions", "die Frau", False), ("man_smile", "čelověk 男", True)):
        path = folder / f"{cut}.mp4"
        with FrameReader(clips / f"{name}.mp4") as reader:
            info = reader.info
            sound_from = info.path if sound else None
            with FrameWriter(
                path, width=info.width, height=info.height, rate=info.rate, preset="ultrafast", audio_from=sound_from
            ) as writer:
                for frame in reader.frames(0, 12):
                    writer.write(frame.image)
        made.append(path)
    return made[0], made[1]


@pytest.fixture(scope="session")
def finished_film(short_clips: tuple[Path, Path], own_settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which everything is done, as quickly as it can be. Not to be changed: see ``film``."""
    from recaster.project import steps
    from recaster.project.people import likeness_records, state_people
    from recaster.project.workspace import create_workspace

    folder = tmp_path_factory.mktemp("films") / "mein Film № 1"
    film = create_workspace(folder, *short_clips)
    state_people(film, likeness_records({"src": ("Ana María", "own face"), "dst": ("男の人", "written release")}))
    for side in ("src", "dst"):
        steps.extract(film, side, {"detector": "fast", "size": 256, "batch": 2})
    steps.train(film, "mini", {"iterations": 6, "batch_size": 2, "save_every": 3, "preview_every": 3, "threads": 1})
    steps.merge(film, "mini", None, {"preset": "ultrafast"})
    steps.run(film, "mini")
    return folder


@pytest.fixture
def film(finished_film: Path, tmp_path: Path) -> Path:
    """A copy of the finished workspace, with the times of its files."""

    def copy(source: str, target: str) -> None:
        # The weights are large, and no program writes into them: it replaces them.
        (os.link if source.endswith(".safetensors") else shutil.copy2)(source, target)

    return Path(shutil.copytree(finished_film, tmp_path / "mein Film № 1", copy_function=copy))
