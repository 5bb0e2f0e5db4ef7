"""`KEY=VALUE` on a command line: what a value means is decided by the schema of its key.

A text is taken as it is, with everything that YAML would cut or interpret, such as ` #` or quotes; only `${...}` is
resolved later, as in a file. Every other value is one YAML number, truth value, list or section. Of several values for
one key the last one counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from timechat.errors import ConfigError
from timechat.schema import Group, Key, means_null, yaml_value

SEPARATORS = ".[]"  # none of which a key may have, because a dotted key would then mean another one


@dataclass(frozen=True)
class Option:
    """One override.

    Attributes:
        keys: the dotted key, divided at its dots.
        text: what stands behind the first `=`.
    """

    keys: tuple[str, ...]
    text: str

    def unread(self) -> Any:
        """The value, as far as it can be told without a schema: a section, null, or a text that may be a name."""
        if means_null(self.text):
            return None
        value = yaml_value(self.text)
        return value if isinstance(value, Mapping) else self.text

    def read(self, schema: Group) -> Any:
        """The value as the schema wants it; what does not fit stays a text."""
        entry: Key | Group | None = schema
        for name in self.keys:
            entry = entry.keys.get(name) if isinstance(entry, Group) else None
        return entry.read(self.text) if isinstance(entry, Key) else yaml_value(self.text)


def split_options(texts: Sequence[str], flag: str, form: str = "section.key=value") -> list[Option]:
    """Divide overrides into keys and values.

    Args:
        texts: such as `run.max_epoch=1`.
        flag: what they were given with, for messages.
        form: what one looks like, for messages.

    Raises:
        ConfigError: listing what is no override.
    """
    options = [Option(tuple(key.split(".")), value) for key, _, value in (text.partition("=") for text in texts)]
    wrong = [text for text, option in zip(texts, options, strict=True) if "=" not in text or not all(option.keys)]
    if wrong:
        raise ConfigError(f"{flag}: expected {form}, got {', '.join(map(repr, wrong))}")
    entries = [text for text, option in zip(texts, options, strict=True) if {"[", "]"} & set("".join(option.keys))]
    if entries:
        raise ConfigError(
            f"{flag}: {', '.join(entries)}: one entry of a list cannot be set; give the whole list, such as "
            f"{entries[0].partition('[')[0]}=[{entries[0].partition('=')[2]}]"
        )
    return options


def options_section(options: Sequence[Option], flag: str, schema: Group | None = None) -> DictConfig:
    """Overrides as the sections that a file would have; without a schema values are `unread`.

    Raises:
        ConfigError: an interpolation that cannot be understood, or keys that are no names.
    """
    sections = [OmegaConf.create()]
    for option in options:
        value = option.unread() if schema is None else option.read(schema)
        for name in reversed(option.keys):
            value = {name: value}
        wrong = list(odd_names(value))
        if wrong:
            raise ConfigError("\n".join(f"{flag}: {problem}" for problem in wrong))
        try:
            sections.append(OmegaConf.create(value))
        except OmegaConfBaseException as error:
            raise ConfigError(f"{flag}: {'.'.join(option.keys)}={option.text}: {first_line(error)}") from error
    return cast(DictConfig, OmegaConf.merge(*sections))


def odd_names(section: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    """Keys that cannot be told apart from others, or from sections, once they are written with dots."""
    for name, value in section.items():
        if not isinstance(name, str):
            yield f"{prefix}{name}: YAML does not read this key as a text; write it in quotes, {str(name)!r}:"
        elif not name or set(SEPARATORS) & set(name):
            yield (
                f"{prefix}{name}: a key has no dots and brackets, which stand between keys; nest the keys, or rename "
                f"it, such as {''.join('_' if letter in SEPARATORS else letter for letter in name) or 'name'!r}"
            )
        if isinstance(value, Mapping):
            yield from odd_names(value, f"{prefix}{name}.")


def first_line(error: Exception) -> str:
    """What an error of a library says, without its details."""
    return str(error).strip().splitlines()[0]
