"""What every verb shares: three flags, and what a verb gives back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from fractions import Fraction
from typing import Annotated, Any, TypeVar

import msgspec
from cyclopts import Parameter

from recaster.cli.console import ask_line, tell_line
from recaster.options import Options, ask_all

M = TypeVar("M", bound=Options)


@Parameter(name="*", group="Every verb")
@dataclass(frozen=True)
class Common:
    """Flags that every verb takes."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Print one JSON object on standard output at the end; progress stays on standard error."""
    ask: Annotated[bool, Parameter(negative="")] = False
    """Ask for each option: ? explains it, Enter takes the value in brackets."""
    debug: Annotated[bool, Parameter(negative="")] = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Result:
    """What a verb found or did: ``figures`` for ``--json``, ``lines`` for people, and the exit code."""

    figures: Mapping[str, Any]
    lines: list[str] = field(default_factory=list)
    exit_code: int = 0


def given(options: Options | None) -> dict[str, Any]:
    """Only the options that stood on the command line."""
    return {} if options is None else options.model_dump(include=options.model_fields_set)


def choose(common: Common | None, model: type[M], options: M | None, remembered: M) -> dict[str, Any]:
    """The values to use on top of what is remembered: the flags, and the answers where ``--ask`` was given."""
    flags = given(options)
    if common is None or not common.ask:
        return flags
    start = remembered.with_values(**flags)
    return ask_all(model, ask_line, tell_line, start.model_dump()).model_dump()


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: paths as text, fractions as numbers, dataclasses and options as objects."""
    if isinstance(value, Options):
        return value.to_mapping()
    if isinstance(value, msgspec.Struct):
        return plain(msgspec.structs.asdict(value))
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Fraction):
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)
