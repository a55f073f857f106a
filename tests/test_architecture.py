"""The house has floors: imports run downwards only."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "recaster"
FLOORS: list[list[str]] = tomllib.loads((ROOT / "docs" / "architecture.toml").read_text())["floors"]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def rooms_imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the floor"
            names = [node.module or ""]
            if node.module == "recaster":
                names = [f"recaster.{name.name}" for name in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("recaster.")}
    return found


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if room_of(path) not in {"__init__", "__main__"})


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_downwards(path: Path) -> None:
    room = room_of(path)
    assert room in LEVEL, f"{room} is missing from docs/architecture.toml"
    upward = {other for other in rooms_imported(path) if other != room and LEVEL.get(other, len(FLOORS)) >= LEVEL[room]}
    assert not upward, f"{path.name} (floor {LEVEL[room]}) imports {sorted(upward)} from its own floor or above"


def test_the_checker_sees_an_upward_import(tmp_path: Path) -> None:
    module = tmp_path / "bad.py"
    module.write_text("def f():\n    from recaster.cli.app import main\n    return main\n")
    assert rooms_imported(module) == {"cli"}
    assert LEVEL["cli"] > LEVEL["geometry"]
