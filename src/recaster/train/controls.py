"""What people ask of a training while it runs: from the keys of a terminal, from the studio, from a test."""

from __future__ import annotations

import threading
from typing import Literal, get_args

Request = Literal["stop", "save", "preview", "backup"]


class Controls:
    """Requests on their way to the training loop; any thread may ask, the loop takes them between two iterations.

    ``stop`` saves and ends the training, ``save`` writes a checkpoint, ``preview`` draws other faces, ``backup`` puts a
    checkpoint aside.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: set[Request] = set()

    def request(self, what: Request) -> None:
        """Ask for something; asking twice before it is done is asking once. Raises ValueError for an unknown word."""
        if what not in get_args(Request):
            raise ValueError(f"there is no request {what!r}")
        with self._lock:
            self._asked.add(what)

    def take(self) -> set[Request]:
        """All that was asked since the last call."""
        with self._lock:
            asked, self._asked = self._asked, set()
        return asked
