"""What the library promises: removing or adding a public name means editing this list in the same change."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import recaster

PUBLIC = """
Alignment ColorTag Descriptor ExtractOptions ExtractSummary Face FaceSet Faces Frame FrameReader FrameWriter Framing
IdentitySwapper Landmarks LikenessRecord Mask MergeSettings MergeSummary OutputOptions Paste Pose Progress RecasterError
SwapOutput Swapper TrainOptions TrainSummary Verification Workspace align composite create_workspace extract_faces
load_swapper merge_clip probe sign steps verify
""".split()


def test_the_public_names_are_these() -> None:
    assert sorted(recaster.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(recaster))


def test_every_public_name_is_there_and_explained() -> None:
    for name in PUBLIC:
        assert getattr(recaster, name).__doc__, name


def test_types_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(recaster.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == set(PUBLIC)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import recaster, sys; print([m for m in ('torch', 'cv2', 'av', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_line_starts_without_torch() -> None:
    code = (
        "import sys; from recaster.cli.app import main; main(sys.argv[1:]);"
        "print([m for m in ('torch', 'cv2', 'av') if m in sys.modules], file=sys.stderr)"
    )
    for words in ([], ["extract"], ["train", "--model", "h64"], ["merge"], ["run"]):
        command = [sys.executable, "-c", code, *words, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "Usage: recast" in done.stdout
        assert done.stderr.strip() == "[]", words
