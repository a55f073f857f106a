"""How a plug-in is named and found.

One :class:`Registry` a kind (detector, landmarker, architecture, colour transfer, blend mode ...). A member is a
factory: a class, or a function without required arguments that returns the plug-in. Third parties register through
the entry-point group ``recaster.<kind>``; those are imported only when the name is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from recaster.errors import UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """Named members of one kind.

    ``kind`` is the word users see ("detector"). If adding a member fails, the registry is unchanged.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._members: dict[str, T] = {}

    def add(self, name: str) -> Callable[[T], T]:
        """Decorator that registers its object under ``name``; a name that is taken or not a word is a ValueError."""

        def register(member: T) -> T:
            if not name or name != name.strip().lower() or any(c.isspace() for c in name):
                raise ValueError(f"{self.kind} name {name!r}: use one lower-case word")
            if name in self._members:
                raise ValueError(f"{self.kind} {name!r} is already registered")
            self._members[name] = member
            return member

        return register

    def get(self, name: str) -> T:
        """The member called ``name``. Raises UsageError that lists the names there are."""
        if name in self._members:
            return self._members[name]
        foreign = self._foreign()
        if name in foreign:
            return self._load(foreign[name])
        raise UsageError(f"unknown {self.kind} {name!r}", mend=f"Choose one of: {', '.join(self.names())}.")

    def names(self) -> list[str]:
        """All names, own and third-party, sorted."""
        return sorted({*self._members, *self._foreign()})

    def __contains__(self, name: str) -> bool:
        return name in self._members or name in self._foreign()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _foreign(self) -> dict[str, EntryPoint]:
        group = f"recaster.{self.kind.replace(' ', '_')}"
        return {point.name: point for point in entry_points(group=group)}

    def _load(self, point: EntryPoint) -> T:
        try:
            member: T = point.load()
        except Exception as error:
            raise UsageError(
                f"{self.kind} {point.name!r} from {point.value} cannot be loaded ({error})",
                mend="Repair or uninstall the package that provides it.",
            ) from error
        self._members[point.name] = member
        return member
