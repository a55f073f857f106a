"""``recast verify``: what a file says about its own making."""

from __future__ import annotations

from pathlib import Path

from recaster.cli.common import Common, Result


def verify(file: Path, /, *, common: Common | None = None) -> Result:
    """Tell whether a file is signed, altered or unsigned, and what it says about how it was made.

    Exit code: 0 signed and as it was signed, 3 unsigned, 4 altered.

    Parameters
    ----------
    file
        A video or picture; its signature may lie beside it.
    """
    from recaster.project.steps import default_identity_folder
    from recaster.provenance.certificate import known_roots
    from recaster.provenance.verify import verify as check

    verdict = check(file, roots=known_roots(default_identity_folder()))
    figures = {
        "file": file,
        "state": verdict.state,
        "signed": verdict.signed,
        "altered": verdict.altered,
        "synthetic": verdict.synthetic,
        "signer": verdict.signer,
        "trusted": verdict.trusted,
        "software": verdict.software,
        "when": verdict.when,
        "likeness": verdict.likeness,
        "ingredients": verdict.ingredients,
        "problems": verdict.problems,
    }
    return Result(figures, verdict.explain(), verdict.exit_code)
