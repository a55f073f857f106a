"""Every verb on a small job: what it answers to people and to scripts."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recaster.provenance.likeness import read_record

Recast = Callable[..., Any]


def test_new_makes_a_workspace(recast: Recast, tmp_path: Path, short_clips: tuple[Path, Path]) -> None:
    folder = tmp_path / "neuer Film – 新"
    clips = ("--src", short_clips[0], "--dst", short_clips[1])
    said = recast("new", folder, *clips, "--basis", "own face", "--json")
    assert (said.code, said.err) == (0, "")
    assert said.json["workspace"] == str(folder)
    assert Path(said.json["dst"]).samefile(short_clips[1])
    assert {side: item["state"] for side, item in said.json["likeness"].items()} == {"src": "stated", "dst": "stated"}
    assert read_record(folder / "people" / "source.toml").basis == "own face"
    said = recast("new", folder, *clips, "--basis", "own face")
    assert (said.code, "workspace already" in said.problem) == (2, True)


def test_new_without_a_terminal_does_not_ask_for_the_basis(
    recast: Recast, tmp_path: Path, short_clips: tuple[Path, Path]
) -> None:
    said = recast("new", tmp_path / "film", "--src", short_clips[0], "--dst", short_clips[1], typed="own face\n")
    assert said.code == 0
    assert said.err == ""
    assert "basis: not stated" in said.out


def test_new_with_all_that_can_be_said_of_the_people(
    recast: Recast, tmp_path: Path, short_clips: tuple[Path, Path]
) -> None:
    (tmp_path / "release.pdf").write_bytes(b"x")
    words = ["--src", short_clips[0], "--dst", short_clips[1], "--src-person", "Anna", "--dst-person", "Bert"]
    words += ["--basis", "written release", "--basis-dst", "own face", "--scope", "Film", "--expires", "2099-12-31"]
    assert recast("new", tmp_path / "film", *words, "--release", tmp_path / "release.pdf").code == 0
    anna, bert = (read_record(tmp_path / "film" / "people" / f"{name}.toml") for name in ("Anna", "Bert"))
    assert (anna.basis, bert.basis, anna.scope) == ("written release", "own face", "Film")
    assert str(bert.expires) == "2099-12-31"
    assert len(anna.release_sha256) == 64


@pytest.mark.parametrize(
    ("words", "code", "problem"),
    [
        (["--src", "none.mp4", "--dst", "none.mp4"], 1, "none.mp4: there is no such file"),
        (["--src", "none.mp4"], 1, "none.mp4"),
        ([], 2, "--src is missing"),
        (["--release", "none.pdf"], 1, "the release cannot be read"),
        (["--src-person", "..."], 2, "needs a person's name"),
    ],
)
def test_new_with_a_mistake_makes_nothing(
    recast: Recast, tmp_path: Path, words: list[str], code: int, problem: str
) -> None:
    said = recast("new", tmp_path / "film", *words)
    assert (said.code, problem in said.problem) == (code, True)
    assert list(tmp_path.iterdir()) == []


def test_extract_tells_misses_and_jitter(recast: Recast, finished_film: Path) -> None:
    said = recast("extract", finished_film, "src", "--json")
    assert said.code == 0
    figures = said.json
    assert (figures["frames"], figures["faces"], figures["misses"], figures["skipped"]) == (12, 12, 0, True)
    assert figures["jitter"] > 0
    said = recast("extract", finished_film, "src")
    assert said.out.startswith("src: 12 faces in 12 of 12 frames (done before)")
    assert "landmark jitter: " in said.out
    assert "misses: 0 frames" in said.out


def test_extract_again_with_other_options(recast: Recast, film: Path) -> None:
    said = recast("extract", film, "dst", "--size", 300, "--json")
    assert (said.code, said.json["faces"], said.json["skipped"]) == (0, 12, False)
    assert "extract faces: 12 of 12 frames" in said.err
    assert tomllib.loads((film / "recast.toml").read_text())["extract"]["dst"] == {
        "detector": "fast",
        "size": 300,
        "batch": 2,
    }
    assert recast("info", film / "data_dst" / "aligned", "--json").json["sizes"] == [300]


def test_train_goes_on_and_merge_renders_again(recast: Recast, film: Path) -> None:
    said = recast("train", film, "--iterations", 7, "--json")
    assert said.code == 0
    assert (said.json["iterations"], said.json["trained"]) == (7, 1)
    assert said.json["checkpoint"].endswith("00000007")
    assert "train: starting at 6 of 7 iterations" in said.err
    said = recast("train", film)
    assert (said.code, said.out.startswith("Nothing to do")) == (0, True)
    said = recast("merge", film, "--json")
    assert (said.code, said.json["skipped"], said.json["merge"]["faces"]) == (0, False, 12)
    assert said.json["signature"]["signer"].startswith("Recaster")
    said = recast("merge", film, "--json")
    assert (said.json["skipped"], said.json["merge"]) == (True, None)
    assert "up to date" in recast("merge", film).out


def test_merge_tells_what_it_did(recast: Recast, film: Path, tmp_path: Path) -> None:
    output = tmp_path / "Ergebnis – 結果.mov"
    said = recast("merge", film, "--mode", "seamless", "--output", output)
    assert said.code == 0
    assert f"{output}: 12 frames, 12 faces replaced, 0 frames without one" in said.out
    assert "signed by Recaster" in said.out
    assert recast("verify", output).code == 0


def test_run_does_what_is_not_done(recast: Recast, film: Path) -> None:
    said = recast("run", film, "--json")
    assert said.code == 0
    assert set(said.json) == {"src", "dst", "train", "merge", "sheet"}
    assert said.json["merge"]["output"] == str(film / "result.mp4")
    said = recast("run", film)
    assert said.out.splitlines()[-2:] == [
        f"result: {film / 'result.mp4'}",
        f"contact sheet: {film / 'contact_sheet.jpg'}",
    ]


def test_sheet(recast: Recast, film: Path, tmp_path: Path) -> None:
    said = recast("sheet", film, "--frames", 2, "--output", tmp_path / "Bogen.png", "--json")
    assert (said.code, said.json) == (0, {"sheet": str(tmp_path / "Bogen.png"), "frames": 2})
    assert recast("verify", tmp_path / "Bogen.png").code == 0


def test_verify_tells_three_states_by_exit_code(recast: Recast, film: Path) -> None:
    said = recast("verify", film / "result.mp4", "--json")
    assert (said.code, said.json["state"], said.json["synthetic"], said.json["trusted"]) == (0, "signed", True, True)
    said = recast("verify", film / "data_dst.mp4")
    assert (said.code, said.out.splitlines()[0]) == (3, "Unsigned: the file carries no credentials.")
    data = bytearray((film / "result.mp4").read_bytes())
    place = data.rindex(b"mdat") + 5000
    data[place] ^= 255
    (film / "result.mp4").write_bytes(bytes(data))
    said = recast("verify", film / "result.mp4", "--json")
    assert (said.code, said.json["state"], said.json["signed"]) == (4, "altered", False)
    said = recast("verify", film / "recast.toml")
    assert (said.code, "not a video or picture" in said.problem) == (1, True)


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        (".", "workspace"),
        ("data_src.mp4", "video"),
        ("data_src/aligned", "faceset"),
        ("data_src/aligned/00001_0.jpg", "face"),
        ("model/mini", "model"),
        ("model/mini/checkpoints/00000006", "checkpoint"),
    ],
)
def test_info(recast: Recast, finished_film: Path, place: str, kind: str) -> None:
    said = recast("info", finished_film / place, "--json")
    assert (said.code, said.err, said.json["kind"]) == (0, "", kind)
    assert recast("info", finished_film / place).out.startswith(f"kind: {kind}\n")


def test_doctor(recast: Recast) -> None:
    said = recast("doctor", "--json")
    assert (said.code, said.json["ready"]) == (0, True)
    assert {check["name"] for check in said.json["checks"]} >= {"networks", "h264", "signing", "accelerator"}


def test_doctor_fails_with_the_mend(recast: Recast, monkeypatch: pytest.MonkeyPatch) -> None:
    from recaster.project import doctor

    broken = [doctor.Check("networks", False, "not there", "Install again."), doctor.Check("disk", True, "9 GB free")]
    monkeypatch.setattr(doctor, "examine", lambda folder: iter(broken))
    said = recast("doctor")
    assert said.code == 1
    assert said.out.splitlines()[1] == "ok   disk: 9 GB free"
    assert said.out.startswith("FAIL networks: not there")
    assert "Install again." in said.out
    assert recast("doctor", "--json").json["ready"] is False


def test_a_mistake_in_the_settings_is_one_line(recast: Recast, film: Path) -> None:
    settings = film / "recast.toml"
    settings.write_text(settings.read_text() + "\n[merge]\nmodus = 'seamless'\n")
    said = recast("merge", film)
    assert said.code == 2
    assert "recast.toml [merge]: unknown option 'modus'; known: mode" in said.problem
    assert recast("verify", film / "result.mp4").code == 0


def test_the_flags_of_the_remembered_model_need_no_name(recast: Recast, film: Path) -> None:
    settings = film / "recast.toml"
    settings.write_text(settings.read_text().replace('model = "mini"', 'model = "h64"'))
    said = recast("train", "--batch-size", "4", film, "--help")
    assert said.code == 0
    assert "Model" in said.out
    assert recast("train", "--model=h64", "--help").out.count("--") == said.out.count("--")


def test_a_device_that_is_not_there(recast: Recast, film: Path) -> None:
    said = recast("train", film, "--iterations", 9, "--device", "cuda:99")
    assert (said.code, "cuda:99" in said.problem, "auto, " in said.problem) == (2, True, True)
    said = recast("extract", film, "dst", "--device", "abacus", "--size", 512)
    assert (said.code, "abacus" in said.problem) == (2, True)
    assert len(list((film / "data_dst" / "aligned").glob("*.jpg"))) == 12
