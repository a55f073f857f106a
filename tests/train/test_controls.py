from __future__ import annotations

import threading

import pytest

from recaster.train.controls import Controls


def test_requests_are_taken_once() -> None:
    controls = Controls()
    assert controls.take() == set()
    controls.request("save")
    controls.request("save")
    controls.request("stop")
    assert controls.take() == {"save", "stop"}
    assert controls.take() == set()


def test_unknown_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="no request 'dance'"):
        Controls().request("dance")  # type: ignore[arg-type]


def test_no_request_is_lost_between_threads() -> None:
    controls, taken = Controls(), []
    workers = [
        threading.Thread(target=controls.request, args=(word,)) for word in ("stop", "save", "preview", "backup")
    ]
    for worker in workers:
        worker.start()
        taken += controls.take()
    for worker in workers:
        worker.join()
    assert sorted([*taken, *controls.take()]) == ["backup", "preview", "save", "stop"]
