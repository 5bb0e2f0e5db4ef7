"""The keys of a config section, said once: a dataclass beside the class that reads them.

    @dataclass
    class PooledConfig(TimeChatConfig):
        temporal_pool: int = key(4, "frames whose tokens are averaged", least=1)

    @registry.register_model("timechat_pooled", config=PooledConfig)
    class PooledTimeChat(TimeChat): ...

A field's annotation is its type (`int`, `float`, `bool`, `str`, `bool | int`, `list[str]`, ..., with `| None` where
null is allowed, or another Section), `key` gives it a default, a comment, and the values that make sense.
`timechat/config.py` composes the sections of what a YAML file names and checks the file against them.
"""

from __future__ import annotations

import dataclasses
import math
import os
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from timechat.errors import RegistryError

_METADATA = "timechat"


class _Amount:
    """Stands for `bool | int`: false is none, true is all, a number so many."""


_VALUES = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    _Amount: "true, false or a whole number",
}
_TYPE_NAMES = {**_VALUES, list: "a list"}
_EMPTY = ("''", '""')  # where the empty text means something else than null
_NULLS = ("", "null", "Null", "NULL", "None")  # the last one is Python's
_LARGEST = 2**64 - 1  # that torch takes, as a seed


@dataclass(frozen=True)
class Rules:
    """What a key is besides its type and default.

    Attributes:
        comment: what it means, one line, printed by `timechat config`.
        heading: a line above the key, where a group of keys begins.
        least, most, below: bounds of a number; `below` itself is not allowed.
        choices: the values that are allowed.
        may_change: whether a run may go on with another value: it does not change what is learned.
        named: the kind of the registry that the section's `name` chooses from, which adds keys of its own.
        file: whether it names a file or a folder: `~` at its beginning is the home directory, and one that a model is
            built from is part of the folder of a saved model.
    """

    comment: str = ""
    heading: str = ""
    least: float | None = None
    most: float | None = None
    below: float | None = None
    choices: Sequence[Any] | None = None
    may_change: bool = False
    named: str = ""
    file: bool = False


def key(
    default: Any,
    comment: str = "",
    *,
    heading: str = "",
    least: float | None = None,
    most: float | None = None,
    below: float | None = None,
    choices: Sequence[Any] | None = None,
    may_change: bool = False,
    file: bool = False,
) -> Any:
    """A key of a section: the field of a Section with this default; the rest is told by `Rules`."""
    rules = Rules(comment, heading, least, most, below, choices, may_change, file=file)
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata={_METADATA: rules})
    return dataclasses.field(default=default, metadata={_METADATA: rules})


def section(cls: type[Section], comment: str = "", *, named: str = "", may_change: bool = False) -> Any:
    """A section within a section.

    Args:
        cls: its keys.
        comment: what it is about, one line; by default the first one of the class's docstring.
        named: a kind of the registry ("processor", "benchmark"): what the section's key `name` names adds keys of its
            own to it.
        may_change: as for `key`, for all of its keys.
    """
    rules = Rules(comment or _about(cls), named=named, may_change=may_change)
    return dataclasses.field(default_factory=cls, metadata={_METADATA: rules})


def _about(cls: type) -> str:
    """The first line of a docstring, as a comment."""
    line = (cls.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    made_up = line.startswith(f"{cls.__name__}(")  # by dataclass, where there is none
    return "" if made_up else line[:1].lower() + line[1:]


@dataclass
class Section:
    """Base of all schemas."""

    @classmethod
    def conflicts(cls, where: str, section: DictConfig, cfg: DictConfig) -> Iterator[str]:
        """Values of the section that cannot go together, one line each; called when each alone is right.

        Args:
            where: the section's dotted name, such as `model` or `datasets.mine`; a line begins with it.
            section: its values.
            cfg: the whole config.
        """
        yield from ()


@dataclass(frozen=True)
class Key:
    """One key as the check sees it."""

    kind: type
    element: type | None
    nullable: bool
    default: Any
    rules: Rules

    def problem(self, value: Any) -> str | None:
        """What is wrong with a value, to be written behind the key; None if nothing is.

        Args:
            value: as YAML gives it, lists as lists.
        """
        if value is None:
            return None if self.nullable else f" must be {_TYPE_NAMES[self.kind]}, not null"
        if not _is_a(value, self.kind):
            return f"={value!r} must be {_TYPE_NAMES[self.kind]}"
        if self.element and not all(_is_a(entry, self.element) for entry in value):
            return f"={value!r} must be a list, each entry {_TYPE_NAMES[self.element]}"
        limit = self._limit(value) or self._unusable(value)
        return f"={value}: {limit}" if limit else None

    def read(self, text: str) -> Any:
        """The value that a text means, which an option or the environment gives; what does not fit stays a text.

        Empty and null are null, for the schema to say whether that may be; a pair of quotation marks is the empty text.
        Else a text key has the text as it is.
        """
        if means_null(text):
            return None
        if self.kind is str:
            return "" if text in _EMPTY else text
        return yaml_value(text)

    def adapted(self, value: Any) -> Any:
        """A value as it is used: null is the empty text, a number in a text a number, `~` the home directory."""
        if self.kind is str:
            if value is None and not self.nullable:
                return ""
            return os.path.expanduser(value) if self.rules.file and isinstance(value, str) else value
        if isinstance(value, str):
            value = self.read(value)
        if self.element not in (None, str) and isinstance(value, list):
            return [yaml_value(entry) if isinstance(entry, str) else entry for entry in value]
        return value

    def _unusable(self, value: Any) -> str | None:
        """What is wrong with a number that is within the bounds of its key, but nothing can be computed with."""
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                return "must be finite"
            if isinstance(number, int) and abs(number) > _LARGEST:
                return f"must be a number of 64 bits, up to {_LARGEST}"
        return None

    def _limit(self, value: Any) -> str | None:
        rules = self.rules
        entries = value if isinstance(value, list) else [value]
        if rules.choices is not None and not all(entry in rules.choices for entry in entries):
            return (
                f"choose {_listed(rules.choices)}" if self.kind is not list else f"choose from {_listed(rules.choices)}"
            )
        if self.kind not in (int, float, _Amount) or isinstance(value, bool):
            return None
        low = rules.least is None or value >= rules.least
        high = (rules.most is None or value <= rules.most) and (rules.below is None or value < rules.below)
        return None if low and high else f"must be {_range(rules)}"  # not a number is neither


@dataclass(frozen=True)
class Group:
    """A section as the check sees it: keys, sections within it, and whose conflicts are looked for."""

    keys: dict[str, Key | Group]
    schemas: tuple[type[Section], ...] = ()
    rules: Rules = Rules()

    def defaults(self) -> dict[str, Any]:
        """A fresh mapping of all defaults."""
        return {
            name: entry.defaults() if isinstance(entry, Group) else _copied(entry.default)
            for name, entry in self.keys.items()
        }

    def key(self, name: str) -> Key:
        """The key of that name. Raises TypeError: it is a section."""
        entry = self.keys[name]
        if not isinstance(entry, Key):
            raise TypeError(f"{name} is a section")
        return entry

    def section(self, name: str) -> Group:
        """The section of that name. Raises TypeError: it is a key."""
        entry = self.keys[name]
        if not isinstance(entry, Group):
            raise TypeError(f"{name} is a key")
        return entry


_GROUPS: dict[type[Section], Group] = {}  # what `group_of` has found


def group_of(schema: type[Section]) -> Group:
    """The keys of a schema. Raises RegistryError: it is not a dataclass, or a field is not a key."""
    if schema in _GROUPS:
        return _GROUPS[schema]
    if "__dataclass_fields__" not in vars(schema):
        raise RegistryError(f"{schema.__name__}: is not a dataclass; write @dataclass above the class")
    try:
        hints = get_type_hints(schema)
    except NameError as error:
        raise RegistryError(f"{schema.__name__}: an annotation cannot be read, {error}") from error
    keys = {field.name: _entry(schema, field, hints[field.name]) for field in dataclasses.fields(schema)}
    _GROUPS[schema] = Group(keys, (schema,))
    return _GROUPS[schema]


def merged(where: str, groups: Sequence[tuple[str, Group]]) -> Group:
    """One section from the keys of several schemas.

    Args:
        where: name of the section, for messages.
        groups: each with the name of what brings it.

    Raises:
        RegistryError: two of them mean different things by one name.
    """
    keys: dict[str, Key | Group] = {}
    owners: dict[str, str] = {}
    for owner, group in groups:
        for name, entry in group.keys.items():
            if keys.setdefault(name, entry) != entry:
                raise RegistryError(f"{where}.{name}: is a key of {owners[name]} and, with another meaning, of {owner}")
            owners.setdefault(name, owner)
    schemas = dict.fromkeys(schema for _, group in groups for schema in group.schemas)
    return Group(keys, tuple(schemas), groups[0][1].rules)


def _entry(schema: type, field: dataclasses.Field[Any], hint: Any) -> Key | Group:
    rules = field.metadata.get(_METADATA)
    if rules is None:
        raise RegistryError(
            f"{schema.__name__}.{field.name}: make it a key, `{field.name}: ... = key(default, comment)`"
        )
    options = get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    nullable, kinds = type(None) in options, [option for option in options if option is not type(None)]
    kind = kinds[0] if len(kinds) == 1 else _Amount if set(kinds) == {bool, int} else None
    if isinstance(kind, type) and issubclass(kind, Section):
        within = group_of(kind)
        return Group(within.keys, within.schemas, rules)
    element = get_args(kind)[0] if get_origin(kind) is list else None
    kind = list if element else kind
    if kind is None or (element or kind) not in _VALUES:
        known = "int, float, bool, str, bool | int, a list of one of them, or a Section"
        raise RegistryError(
            f"{schema.__name__}.{field.name}: is annotated {hint}; a key is {known}, with | None or without"
        )
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    entry = Key(kind, element, nullable, default, rules)
    problem = entry.problem(default)
    if problem:
        raise RegistryError(f"{schema.__name__}.{field.name}: its default does not pass: {field.name}{problem}")
    return entry


def means_null(text: str) -> bool:
    """Whether a text, given as a value on a command line, stands for none."""
    return text in _NULLS


def yaml_value(text: str) -> Any:
    """The one value that all of a text is in YAML; the text itself if it is none, or if a comment follows."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is None or node.end_mark.index < len(text.rstrip()):
            return text
        section = OmegaConf.from_dotlist([f"value={text}"])  # which takes 3e-5 for a number
        return OmegaConf.to_container(section)["value"]  # type: ignore[call-overload,index]  # it is a mapping
    except (yaml.YAMLError, OmegaConfBaseException):
        return text


def _is_a(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind in (bool, _Amount)
    if kind is float:
        return isinstance(value, (int, float))
    return isinstance(value, int if kind is _Amount else kind)


def _range(rules: Rules) -> str:
    """The bounds in words; there is at least one."""
    least, most, below = rules.least, rules.most, rules.below
    if most is not None:
        return f"{_number(most)} or less" if least is None else f"from {_number(least)} to {_number(most)}"
    if below is not None:
        return f"below {_number(below)}" if least is None else f"at least {_number(least)} and below {_number(below)}"
    return f"{_number(least)} or more"


def _number(value: float | None) -> str:
    """A bound with all of its digits."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def _copied(value: Any) -> Any:
    return list(value) if isinstance(value, list) else value


def _listed(choices: Sequence[Any]) -> str:
    """`a, b or c`."""
    *first, last = map(str, choices)
    return f"{', '.join(first)} or {last}" if first else last
