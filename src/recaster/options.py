"""One declaration of an option becomes everything a user meets.

A step's options are one frozen model derived from :class:`Options`; every field is made by :func:`option` and carries
its default, range, unit and help. From that come the command-line flag (the model is handed to the command line as it
is), the interactive question (:func:`questions`, :func:`ask_all`), TOML (:func:`from_mapping`, ``to_mapping``), the
JSON schema (``model_json_schema``) and the cache key (``key``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from recaster.errors import UsageError

M = TypeVar("M", bound="Options")


class Options(BaseModel):
    """Base of all option models: frozen, hashable, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for TOML or JSON; None is left out, since TOML has none."""
        return self.model_dump(mode="json", exclude_none=True)

    def changed(self) -> dict[str, Any]:
        """Only what differs from the defaults, as plain values."""
        return self.model_dump(mode="json", exclude_none=True, exclude_defaults=True)

    def key(self) -> str:
        """Hex SHA-256 of the values: equal options have equal keys, on every machine."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def with_values(self, **values: Any) -> Self:
        """A copy with some values replaced, checked. Raises UsageError."""
        return from_mapping(type(self), {**self.model_dump(), **values})


def option(
    default: Any,
    help: str,
    *,
    ge: float | None = None,
    le: float | None = None,
    unit: str = "",
    advanced: bool = False,
    fixed: bool = False,
) -> Any:
    """Declare one option: default, help, inclusive range, unit ("px", "%", "iterations").

    The help that users see ends with range and unit. ``advanced`` options are not asked interactively and stand apart
    in forms. ``fixed`` ones are chosen once, when something is made, and cannot change later.
    """
    extra: dict[str, Any] = {}
    if fixed:
        extra["fixed"] = True
    if unit:
        extra["unit"] = unit
    if advanced:
        extra["advanced"] = True
    allowed = _range_text(ge, le)
    described = f"{help} ({allowed} {unit})".replace(" )", ")") if allowed or unit else help
    return Field(default=default, description=described, ge=ge, le=le, json_schema_extra=extra or None)


def is_fixed(field: FieldInfo) -> bool:
    """Whether an option is chosen once and cannot change later."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("fixed"))


def from_mapping(model: type[M], values: Mapping[str, Any], where: str | Path | None = None) -> M:
    """Check ``values`` and make the model. Raises UsageError naming the option and the values it takes."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(_first_problem(model, error), where=where) from error


def _first_problem(model: type[Options], error: ValidationError) -> str:
    problem = error.errors()[0]
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown option {name!r}; known: {', '.join(model.model_fields)}"
    field = model.model_fields.get(name.split(".")[0])
    allowed = allowed_text(field) if field else ""
    return f"option {name!r}: {problem['msg'].lower()}, got {problem['input']!r}" + (
        f" (allowed: {allowed})" if allowed else ""
    )


def allowed_text(field: FieldInfo) -> str:
    """The values a field takes, for people: ``1..20``, ``jpg/png``, ``y/n``."""
    choices = _choices(field.annotation)
    if choices:
        return "/".join(str(choice) for choice in choices)
    if field.annotation is bool:
        return "y/n"
    bounds = {name: getattr(item, name) for item in field.metadata for name in ("ge", "le") if hasattr(item, name)}
    return _range_text(bounds.get("ge"), bounds.get("le"))


def _range_text(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    if high is None:
        return f"from {low:g}"
    return f"up to {high:g}" if low is None else f"{low:g}..{high:g}"


def _choices(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [member.value for member in annotation]
    return []


@dataclass(frozen=True)
class Question:
    """One interactive question: ``text`` is the prompt, ``help`` the answer to ``?``, ``default`` what Enter takes."""

    name: str
    text: str
    help: str
    default: Any
    field: FieldInfo
    model: type[Options]

    def parse(self, answer: str) -> Any:
        """The value of a typed answer; an empty one is the default. Raises UsageError."""
        text = answer.strip()
        if not text:
            return self.default
        value: Any = text
        if self.field.annotation is bool:
            words = {
                "y": True,
                "yes": True,
                "1": True,
                "true": True,
                "n": False,
                "no": False,
                "0": False,
                "false": False,
            }
            if text.lower() not in words:
                raise UsageError(f"{self.name}: answer y or n, got {text!r}")
            value = words[text.lower()]
        checked = from_mapping(self.model, {self.name: value})
        return getattr(checked, self.name)


def questions(model: type[Options], remembered: Mapping[str, Any] | None = None) -> Iterator[Question]:
    """The questions of a model in the order of its fields; remembered answers replace the defaults."""
    remembered = remembered or {}
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        if extra.get("advanced"):
            continue
        default = remembered.get(name, field.get_default(call_default_factory=True))
        if default is PydanticUndefined:
            default = None
        unit = f" {extra['unit']}" if "unit" in extra else ""
        inside = " ".join(part for part in (allowed_text(field) + unit, "?:help") if part.strip())
        text = f"[{_shown(default)}] {name.replace('_', ' ')} ( {inside} ) : "
        yield Question(name, text, field.description or "", default, field, model)


def ask_all(
    model: type[M],
    ask: Callable[[str], str],
    tell: Callable[[str], None],
    remembered: Mapping[str, Any] | None = None,
) -> M:
    """Ask every question of ``model``. ``ask`` shows a prompt and returns a line; ``tell`` shows a line of text.

    ``?`` shows the help and asks again; a wrong answer is explained and asked again; Enter takes the remembered value.
    Fields that are not asked keep their remembered value.
    """
    values = dict(remembered or {})
    for question in questions(model, remembered):
        while True:
            answer = ask(question.text)
            if answer.strip() == "?":
                tell(question.help or "No help for this one.")
                continue
            try:
                values[question.name] = question.parse(answer)
            except UsageError as error:
                tell(str(error))
                continue
            break
    return from_mapping(model, values)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "y" if value else "n"
    if isinstance(value, Enum):
        return str(value.value)
    return "" if value is None else str(value)
