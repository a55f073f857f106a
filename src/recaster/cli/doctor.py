"""``recast doctor``: what works on this machine."""

from __future__ import annotations

from recaster.cli.common import Common, Result


def doctor(*, common: Common | None = None) -> Result:
    """Say what works on this machine and what does not, with the mend. Exit code 1 when the main job cannot work."""
    from recaster.project.doctor import examine
    from recaster.project.steps import default_identity_folder

    checks = list(examine(default_identity_folder()))
    lines = []
    for check in checks:
        mark = "ok  " if check.works else "FAIL" if check.needed else "none"
        lines.append(f"{mark} {check.name}: {check.detail}" + ("" if check.works else f". {check.mend}"))
        for attempt in check.tried:
            lines.append(f"     {'ok  ' if attempt.works else 'none'} {attempt.name}: {attempt.detail}")
    ready = all(check.works for check in checks if check.needed)
    return Result({"ready": ready, "checks": checks}, lines, 0 if ready else 1)
