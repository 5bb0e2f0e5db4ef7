"""What modules import, read from their source without running it."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[2]
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_BY_NAME = ("import_module", "find_spec")  # of importlib, called with a name that is written out


@dataclass(frozen=True)
class Import:
    """One imported module.

    Attributes:
        module: its dotted name.
        line: where.
        late: only when a function is called.
        for_types: only for the type checker.
        guarded: inside `try`, so that it may be missing.
    """

    module: str
    line: int
    late: bool = False
    for_types: bool = False
    guarded: bool = False

    @property
    def top(self) -> str:
        """The package that it belongs to."""
        return self.module.partition(".")[0]


def modules_of(package: str) -> dict[str, Path]:
    """Dotted name -> file of every module of a package at the top of the repository."""
    files = sorted((ROOT / package).rglob("*.py"))
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports_in(source: str, known: Collection[str] = ()) -> list[Import]:
    """The imports of a module.

    Args:
        source: its text.
        known: modules; `from a import b` is an import of `a.b` where that is one of them, else of `a`.
    """
    return list(_walk(ast.parse(source), known, Import("", 0)))


def _walk(node: ast.AST, known: Collection[str], where: Import) -> Iterator[Import]:
    for name in _names(node, known):
        # By name means on purpose late: whoever does it copes with a module that is missing.
        yield replace(where, module=name, line=node.lineno, late=where.late or isinstance(node, ast.Call))
    if isinstance(node, _DEFINITIONS):
        where = replace(where, late=True)
    for field, value in ast.iter_fields(node):
        inside = where
        if isinstance(node, ast.If) and field == "body" and "TYPE_CHECKING" in ast.unparse(node.test):
            inside = replace(where, for_types=True)
        if isinstance(node, ast.Try) and field == "body":
            inside = replace(where, guarded=True)
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _walk(child, known, inside)


def _names(node: ast.AST, known: Collection[str]) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), names=names, level=0):
            paths = [f"{module}.{alias.name}" for alias in names]
            return sorted({path if path in known else module for path in paths})
        case ast.ImportFrom():
            raise AssertionError(f"line {node.lineno}: a relative import; write the whole name")
        case ast.Call(func=ast.Attribute(attr=attr) | ast.Name(id=attr), args=[ast.Constant(value=str(name)), *_]):
            return [name] if attr in _BY_NAME else []
    return []
