"""Options that change while a training runs, as values: ``gan_power=0.1 at 50000``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from recaster.errors import UsageError
from recaster.options import Options
from recaster.train.options import TrainOptions

M = TypeVar("M", bound=Options)

UNCHANGING = frozenset(
    {"iterations", "minutes", "schedule", "weights_from", "pretrain", "device", "threads", "seed", "run", "tensorboard"}
)
"""Training options that a schedule cannot change: they say where a run begins, ends and computes."""


@dataclass(frozen=True)
class Event:
    """From ``iteration`` on, the option ``name`` has the value that ``text`` says."""

    iteration: int
    name: str
    text: str


def parse_schedule(entries: Sequence[str]) -> tuple[Event, ...]:
    """Events in the order of their iterations. Raises UsageError."""
    events = []
    for entry in entries:
        found = re.fullmatch(r"\s*([\w-]+)\s*=\s*(\S+)\s+at\s+(\d+)\s*", entry)
        if found is None:
            raise UsageError(
                f"schedule: {entry!r} is not NAME=VALUE at ITERATION",
                mend="Write for instance random_warp=false at 30000.",
            )
        events.append(Event(int(found[3]), found[1].replace("-", "_"), found[2]))
    return tuple(sorted(events, key=lambda event: event.iteration))


def options_at(iteration: int, options: TrainOptions, net_options: M) -> tuple[TrainOptions, M]:
    """Both kinds of options as the schedule in ``options`` has them at ``iteration``. Raises UsageError."""
    changed, net_changed = options, net_options
    for event in parse_schedule(options.schedule):
        known = event.name in type(options).model_fields and event.name not in UNCHANGING
        if not known and event.name not in type(net_options).model_fields:
            raise UsageError(
                f"schedule: {event.name!r} cannot be changed while a training runs",
                mend="Name an option of the training or of this model: recast train --model NAME --help lists them.",
            )
        now = event.iteration <= iteration
        # Later events are tried too, so that a mistake is found at the start and not after a night.
        if known:
            tried = changed.with_values(**{event.name: event.text})
            changed = tried if now else changed
        else:
            net_tried = net_changed.with_values(**{event.name: event.text})
            net_changed = net_tried if now else net_changed
    return changed, net_changed


def next_event(iteration: int, options: TrainOptions) -> int | None:
    """The first iteration after ``iteration`` at which something changes; None when nothing does any more."""
    coming = [event.iteration for event in parse_schedule(options.schedule) if event.iteration > iteration]
    return min(coming, default=None)
