"""Schemas: what a key is, what a value may be, and mistakes of whoever writes one."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import pytest

from timechat.errors import RegistryError
from timechat.schema import Group, Key, Section, group_of, key, merged, section


@dataclass
class Inner(Section):
    """What is inside, told in one line.

    And more.
    """

    depth: int = key(3, "layers", least=1)


@dataclass
class Everything(Section):
    """One key of each type."""

    count: int = key(2, "a number of things", heading="Numbers", least=1)
    rate: float = key(0.5, "a share", least=0, most=1)
    decay: float = key(0.9, least=0, below=1)
    top: float = key(0.0, most=5)
    under: float = key(0.0, below=5)
    yes: bool = key(False)
    some: bool | int = key(False, least=0)
    name: str = key("x", choices=("x", "y"))
    limit: int | None = key(None, least=1)
    names: list[str] = key(["x"], choices=("x", "y"))
    sizes: list[int] = key([])
    speed: float = key(0.0)
    speeds: list[float] = key([])
    place: str = key("", file=True)
    place_or_none: str | None = key(None, file=True)
    inner: Inner = section(Inner, may_change=True)


@dataclass
class Child(Everything):
    """Adds a key, and changes a default."""

    rate: float = key(0.25, "a share", least=0, most=1)
    own: str = key("", "its own")


def entry(name: str, schema: type[Section] = Everything) -> Key:
    """One key."""
    found = group_of(schema).keys[name]
    assert isinstance(found, Key)
    return found


GOOD = [
    *(("count", 1), ("rate", 0), ("rate", 1.0), ("decay", 0.99), ("top", -7), ("under", 4.9), ("yes", True)),
    *(("some", True), ("some", False), ("some", 0), ("some", 3)),
    *(("name", "y"), ("limit", None), ("limit", 4), ("names", []), ("names", ["y", "x"]), ("sizes", [1, 2])),
]
BAD = [
    ("count", 0, "=0: must be 1 or more"),
    ("count", 1.5, "=1.5 must be a whole number"),
    ("count", True, "=True must be a whole number"),
    ("count", None, " must be a whole number, not null"),
    ("rate", 1.5, "=1.5: must be from 0 to 1"),
    ("rate", math.nan, "=nan: must be from 0 to 1"),
    ("rate", "0.5", "='0.5' must be a number"),
    ("decay", 1, "=1: must be at least 0 and below 1"),
    ("top", 6, "=6: must be 5 or less"),
    ("under", 5, "=5: must be below 5"),
    ("yes", 1, "=1 must be true or false"),
    ("some", -1, "=-1: must be 0 or more"),
    ("some", 1.5, "=1.5 must be true, false or a whole number"),
    ("some", None, " must be true, false or a whole number, not null"),
    ("name", "z", "=z: choose x or y"),
    ("name", 3, "=3 must be a text"),
    ("limit", 0, "=0: must be 1 or more"),
    ("names", ["z"], "=['z']: choose from x or y"),
    ("names", "x", "='x' must be a list"),
    ("sizes", [1, "2"], "=[1, '2'] must be a list, each entry a whole number"),
    ("sizes", [2**64], f"=[{2**64}]: must be a number of 64 bits, up to {2**64 - 1}"),
    ("count", 2**64, f"={2**64}: must be a number of 64 bits, up to {2**64 - 1}"),
    ("speed", 10**400, f"={10**400}: must be a number of 64 bits, up to {2**64 - 1}"),
    ("speed", math.inf, "=inf: must be finite"),
    ("speed", math.nan, "=nan: must be finite"),
    ("top", -math.inf, "=-inf: must be finite"),
    ("speeds", [0.0, math.nan], "=[0.0, nan]: must be finite"),
]


@pytest.mark.parametrize(("name", "value"), GOOD)
def test_values_that_pass(name: str, value: Any) -> None:
    assert entry(name).problem(value) is None


@pytest.mark.parametrize(("name", "value", "problem"), BAD)
def test_values_that_do_not(name: str, value: Any, problem: str) -> None:
    assert entry(name).problem(value) == problem


READ = [
    ("name", "3 #x", "3 #x"),
    ("name", "", None),
    ("limit", "None", None),
    ("limit", "3", 3),
    ("limit", "3 #x", "3 #x"),
    ("yes", "true", True),
    ("some", "true", True),
    ("some", "3", 3),
    ("rate", "3e-5", 3e-5),
    ("names", "[x, y]", ["x", "y"]),
    ("names", "[x", "[x"),
]


@pytest.mark.parametrize(("name", "text", "value"), READ)
def test_a_text_is_read_as_the_key_wants(name: str, text: str, value: Any) -> None:
    assert entry(name).read(text) == value


@pytest.mark.parametrize(
    ("name", "given", "used"),
    [
        ("name", None, ""),
        ("name", "~/x", "~/x"),
        ("place", "~/x", "/home/me/x"),
        ("place", "a/~", "a/~"),
        ("place", None, ""),
        ("place_or_none", None, None),
        ("place_or_none", "~", "/home/me"),
        ("limit", "4", 4),
        ("limit", "null", None),
        ("rate", "fast", "fast"),
        ("yes", "false", False),
        ("sizes", [1, "2"], [1, 2]),
        ("names", ["1"], ["1"]),
        ("place", 3, 3),
    ],
)
def test_values_take_the_form_in_which_they_are_used(
    monkeypatch: pytest.MonkeyPatch, name: str, given: Any, used: Any
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert entry(name).adapted(given) == used


def test_the_keys_of_a_subclass_are_its_parents_and_its_own() -> None:
    assert list(group_of(Child).keys) == [*group_of(Everything).keys, "own"]
    assert group_of(Child).defaults()["rate"] == 0.25
    assert group_of(Everything).defaults()["rate"] == 0.5


def test_defaults_are_fresh_and_nested() -> None:
    first = group_of(Everything).defaults()
    first["names"].append("y")
    first["inner"]["depth"] = 7
    again = group_of(Everything).defaults()
    assert (again["names"], again["inner"]) == (["x"], {"depth": 3})


def test_a_section_without_a_comment_is_told_by_its_docstring() -> None:
    inner = group_of(Everything).keys["inner"]
    assert isinstance(inner, Group)
    assert inner.rules.comment == "what is inside, told in one line"
    assert inner.rules.may_change


def test_dataclasses_own_docstring_tells_nothing() -> None:
    bare = dataclasses.make_dataclass("Bare", [], bases=(Section,))
    bare.__doc__ = "Bare(depth: int = 3)"
    outer = dataclasses.make_dataclass("Outer", [("inner", bare, section(bare))], bases=(Section,))
    assert group_of(outer).keys["inner"].rules.comment == ""


def schema_with(annotation: Any, field: Any) -> type[Section]:
    """A schema with one key `mine`."""
    return dataclasses.make_dataclass("Wrong", [("mine", annotation, field)], bases=(Section,))


@pytest.mark.parametrize(
    ("annotation", "field", "message"),
    [
        (int, 3, r"Wrong\.mine: make it a key, `mine: \.\.\. = key\(default, comment\)`"),
        (
            dict,
            key(None),
            r"Wrong\.mine: is annotated <class 'dict'>; a key is int, float, bool, str, bool \| int, a list",
        ),
        (list, key([]), r"Wrong\.mine: is annotated <class 'list'>"),
        (int | str, key(3), r"Wrong\.mine: is annotated int \| str"),
        (list[list[int]], key([]), r"Wrong\.mine: is annotated list\[list\[int\]\]"),
        (int, key("3"), r"Wrong\.mine: its default does not pass: mine='3' must be a whole number"),
        (int, key(None), r"Wrong\.mine: its default does not pass: mine must be a whole number, not null"),
        (int, key(0, least=1), r"Wrong\.mine: its default does not pass: mine=0: must be 1 or more"),
        ("Nowhere", key(0), r"Wrong: an annotation cannot be read, name 'Nowhere' is not defined"),
    ],
)
def test_mistakes_of_a_schema_are_named(annotation: Any, field: Any, message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        group_of(schema_with(annotation, field))


def test_a_forgotten_decorator_is_named() -> None:
    """Without it the keys would be those of the parent alone, in silence."""

    class Forgotten(Inner):
        width: int = key(3, "never seen")

    with pytest.raises(RegistryError, match="Forgotten: is not a dataclass; write @dataclass above the class"):
        group_of(Forgotten)


def test_one_section_from_several_schemas() -> None:
    @dataclass
    class Other(Section):
        count: int = key(2, "a number of things", heading="Numbers", least=1)
        more: int = key(1)

    both = merged("run", [("task 'a'", group_of(Everything)), ("engine 'b'", group_of(Other))])
    assert list(both.keys) == [*group_of(Everything).keys, "more"]
    assert both.schemas == (Everything, Other)


def test_one_name_has_one_meaning() -> None:
    @dataclass
    class Other(Section):
        count: int = key(5)

    message = r"run\.count: is a key of task 'a' and, with another meaning, of engine 'b'"
    with pytest.raises(RegistryError, match=message):
        merged("run", [("task 'a'", group_of(Everything)), ("engine 'b'", group_of(Other))])
