"""Plug-ins are named, found, and never half added."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from recaster import registry as registry_module
from recaster.errors import UsageError
from recaster.registry import Registry


def test_members_are_found_by_name() -> None:
    registry: Registry[type] = Registry("detector")
    registry.add("mine")(int)
    assert registry.get("mine") is int
    assert registry.names() == ["mine"]
    assert "mine" in registry
    assert "other" not in registry


def test_an_unknown_name_lists_what_there_is() -> None:
    registry: Registry[type] = Registry("detector")
    registry.add("mine")(int)
    with pytest.raises(UsageError, match=r"unknown detector 'yours'.*mine"):
        registry.get("yours")


@pytest.mark.parametrize("name", ["", "Mine", "my own", "mine"])
def test_a_failed_addition_changes_nothing(name: str) -> None:
    registry: Registry[type] = Registry("detector")
    registry.add("mine")(int)
    with pytest.raises(ValueError, match="detector"):
        registry.add(name)(float)
    assert registry.names() == ["mine"]
    assert registry.get("mine") is int


def test_third_parties_register_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("good", "collections:OrderedDict", "recaster.blend_mode"),
        EntryPoint("bad", "no_such_package:thing", "recaster.blend_mode"),
    ]
    asked: list[str] = []

    def fake_entry_points(*, group: str) -> list[EntryPoint]:
        asked.append(group)
        return points

    monkeypatch.setattr(registry_module, "entry_points", fake_entry_points)
    registry: Registry[type] = Registry("blend mode")
    assert registry.names() == ["bad", "good"]
    assert registry.get("good").__name__ == "OrderedDict"
    with pytest.raises(UsageError, match="no_such_package"):
        registry.get("bad")
    assert set(asked) == {"recaster.blend_mode"}
