"""``recast info``: all that is known about a path."""

from __future__ import annotations

from pathlib import Path

from recaster.cli.common import Common, Result, plain


def info(path: Path, /, *, common: Common | None = None) -> Result:
    """Say all that is known about a workspace, video, folder of pictures, face, faceset or checkpoint.

    Parameters
    ----------
    path
        The file or folder.
    """
    from recaster.project.info import describe

    figures = plain(describe(path))
    return Result(figures, list(_lines(figures)))


def _lines(figures: dict[str, object], indent: str = "") -> list[str]:
    lines = []
    for name, value in figures.items():
        if isinstance(value, dict):
            lines += [f"{indent}{name}:", *_lines(value, indent + "  ")]
        elif isinstance(value, list):
            lines.append(f"{indent}{name}: {', '.join(map(str, value)) or 'none'}")
        else:
            lines.append(f"{indent}{name}: {value}")
    return lines
