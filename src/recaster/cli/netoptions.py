"""Verbs that take the options of the chosen model as flags of their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from itertools import zip_longest
from typing import Annotated, Any, Optional

from cyclopts import Parameter

from recaster.cli.common import Result
from recaster.options import Options


def with_net_options(verb: Callable[..., Result], net_type: type[Options] | None) -> Callable[..., Result]:
    """``verb``, whose parameter ``net`` becomes the flags of ``net_type``; without one it cannot be given."""
    net: Any = Annotated[Any, Parameter(parse=False)]
    if net_type is not None and net_type.model_fields:
        net = Annotated[Optional[net_type], Parameter(name="*", group="Model")]  # noqa: UP045 - a class known only now

    @wraps(verb)
    def command(*arguments: Any, **named: Any) -> Result:
        return verb(*arguments, **named)

    signature = inspect.signature(verb, eval_str=True)
    parameters = [p.replace(annotation=net) if p.name == "net" else p for p in signature.parameters.values()]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def flag_value(words: Sequence[str], flag: str) -> str | None:
    """What stands behind ``--flag`` on the command line, the last time that it stands there."""
    found = None
    for word, following in zip_longest(words, words[1:]):
        if word == flag:
            found = following
        elif word.startswith(f"{flag}="):
            found = word.removeprefix(f"{flag}=")
    return found
