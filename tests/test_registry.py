"""Names -> classes: kinds are apart, unknown and doubled names are errors."""

from __future__ import annotations

import pytest

from timechat.errors import ConfigError, RegistryError
from timechat.registry import Registry, nearest

KINDS = ("model", "builder", "processor", "task", "runner", "lr_scheduler")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_back_what_was_registered(kind: str) -> None:
    registry = Registry()
    add, get = getattr(registry, f"register_{kind}"), getattr(registry, f"get_{kind}_class")

    @add("mine")
    class Mine:
        """Something."""

    assert get("mine") is Mine
    assert registry.names(kind.replace("_", " ")) == ["mine"]


def test_kinds_do_not_see_each_other() -> None:
    registry = Registry()
    registry.register_model("x")(int)
    registry.register_task("x")(str)
    assert (registry.get_model_class("x"), registry.get_task_class("x")) == (int, str)
    with pytest.raises(RegistryError, match="unknown runner 'x'; known: none"):
        registry.get_runner_class("x")


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    registry = Registry()
    for name in ("timechat", "blip"):
        registry.register_model(name)(int)
    message = r"unknown model 'timchat' \(did you mean 'timechat'\?\); known: blip, timechat"
    with pytest.raises(RegistryError, match=message):
        registry.get_model_class("timchat")
    assert issubclass(RegistryError, ConfigError)


def test_a_name_stands_for_one_class() -> None:
    """The same class twice is harmless (a module that is imported again); another one is an error."""
    registry = Registry()
    registry.register_task("x")(int)
    registry.register_task("x")(int)
    with pytest.raises(RegistryError, match=r"task 'x' is already registered, for .*int.*; choose another name"):
        registry.register_task("x")(str)
    assert registry.get_task_class("x") is int


def test_two_names_for_one_class() -> None:
    registry = Registry()
    registry.register_task("a")(registry.register_task("b")(int))
    assert registry.names("task") == ["a", "b"]


def test_nearest() -> None:
    assert nearest("max_epochs", ["max_epoch", "seed"]) == " (did you mean 'max_epoch'?)"
    assert nearest("zzz", ["max_epoch", "seed"]) == ""
    assert nearest("x", []) == ""
