"""Modules from outside that register things: those that a YAML file names under `import:`, and installed packages.

A package offers its modules through the entry-point group `timechat.plugins`, in its pyproject.toml:

    [project.entry-points."timechat.plugins"]
    my_lab = "my_lab.pooling"
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from timechat.errors import RegistryError

GROUP = "timechat.plugins"
_OURS = str(Path(__file__).parent)
_installed_loaded = False


def import_modules(names: Sequence[str], source: str, folders: Sequence[Path] = ()) -> None:
    """Import modules, so that they register what they offer.

    Args:
        names: dotted, such as `my_lab.pooling`.
        source: what names them, for messages: `x.yaml: import`.
        folders: where they may lie, in these or in one above, besides Python's own path, which comes first.

    Raises:
        RegistryError: one is missing, fails, or registers a name that is taken.
    """
    for name in names:
        for place in (place for folder in folders if (place := _place_of(name, folder.resolve())) is not None):
            if str(place) not in sys.path:
                sys.path.append(str(place))
        importlib.invalidate_caches()
        _import(name, f"{source}: {name}", folders)


def _place_of(name: str, folder: Path) -> Path | None:
    """The folder, or the nearest one above it, that holds the package or module which a dotted name begins with."""
    top = name.partition(".")[0]
    places = (folder, *folder.parents)
    return next((place for place in places if (place / top).is_dir() or (place / f"{top}.py").is_file()), None)


def load_installed() -> None:
    """Import the plug-ins of installed packages, once. Raises RegistryError, as `import_modules`."""
    global _installed_loaded
    if _installed_loaded:
        return
    _installed_loaded = True  # before: a plug-in may look things up while it is imported
    for point in entry_points(group=GROUP):
        package = point.dist.name if point.dist else "an installed package"
        try:
            _import(point.module, f"{package}: entry point {GROUP}, {point.name} = {point.value}")
        except RegistryError:
            _installed_loaded = False
            raise


def _import(name: str, where: str, folders: Sequence[Path] = ()) -> None:
    try:
        importlib.import_module(name)
    except RegistryError as error:
        raise RegistryError(f"{where}: {_message_and_place(error)}") from error
    except Exception as error:  # whatever a module from outside does
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            places = dict.fromkeys(folder.resolve() for folder in folders)
            looked = "".join(f", in {place} or a folder above it" for place in places)
            raise RegistryError(
                f"{where}: there is no module {error.name!r} on Python's path{looked}; correct the name, or put the "
                "folder that holds it on PYTHONPATH"
            ) from error
        raise RegistryError(f"{where}: failed with {type(error).__name__}: {_message_and_place(error)}") from error


def _message_and_place(error: Exception) -> str:
    """What an error says, with file and line: of the broken syntax, or of the last line of the module that ran."""
    if isinstance(error, SyntaxError):
        return f"{error.msg} ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(("<frozen", _OURS))]
    place = (own or list(frames))[-1]
    return f"{error} ({place.filename}, line {place.lineno})"
