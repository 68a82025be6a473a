"""The plan of the house, read from the source: imports only point down, and modules stay small."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_LINES = 450

# Which of the project's packages each package may import, besides itself.
BELOW = {
    "data_tools": set(),
    "discriminator": {"data_tools"},
    "generator": {"data_tools"},
    "gan": {"data_tools", "discriminator", "generator"},
    "experiments": {"data_tools", "discriminator", "generator", "gan"},
}
OURS = {*BELOW, "tests"}
MODULES = sorted(path for package in BELOW for path in (ROOT / package).rglob("*.py"))


def imported(source: str, package: str) -> Iterator[str]:
    """Dotted names of all modules a source imports, also inside functions.

    Args:
        source: the module's text.
        package: the dotted package it lies in, which relative imports start from.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = parents[: len(parents) - node.level + 1] if node.level else []
            base = [*above, *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)


def imports_of(path: Path) -> set[str]:
    package = ".".join(path.parent.relative_to(ROOT).parts)
    return set(imported(path.read_text(encoding="utf-8"), package))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import gan.cli as c, numpy", {"gan.cli", "numpy"}),
        ("def f():\n    from torch import nn", {"torch.nn"}),
        ("from . import run", {"gan.evaluation.run"}),
        ("from ..engine import Engine", {"gan.engine.Engine"}),
    ],
)
def test_every_form_of_import_is_found(source, expected):
    assert set(imported(source, "gan.evaluation")) == expected


@pytest.mark.parametrize("package", BELOW)
def test_there_is_something_to_check(package):
    assert any((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_only_point_down(path):
    package = path.relative_to(ROOT).parts[0]
    allowed = BELOW[package] | {package}
    wrong = {m for m in imports_of(path) if m.split(".")[0] in OURS - allowed}
    assert not wrong, f"{name(path)} may not import {sorted(wrong)}"


@pytest.mark.parametrize("path", sorted((ROOT / "data_tools").rglob("*.py")), ids=name)
def test_data_tools_names_no_torch(path):
    wrong = {m for m in imports_of(path) if "torch" in m.split(".")}
    assert not wrong, f"{name(path)} may not import {sorted(wrong)}"


def test_data_tools_import_where_torch_is_not_installed():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "data_tools").rglob("*.py"))
        if path.name not in {"__init__.py", "__main__.py"}
    ]
    code = f"""
import importlib, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, NoTorch())
for module in {modules}:
    importlib.import_module(module)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_are_small_and_say_what_they_are(path):
    source = path.read_text(encoding="utf-8")
    lines = len(source.splitlines())
    assert lines <= MAX_LINES, f"{name(path)} has {lines} lines, more than {MAX_LINES}"
    # An empty __init__.py only marks a package.
    assert not source or ast.get_docstring(ast.parse(source)), f"{name(path)} has no docstring"
