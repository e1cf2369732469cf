"""The layout, proved from the import statements: rooms without circles, and a core that knows no wing."""

from __future__ import annotations

import ast
import functools
import io
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from peftcore.registry import METHODS

ROOT = Path(__file__).resolve().parents[2]
# From the bottom up: a room imports from rooms before it only.
ROOMS = (
    "errors", "home", "events", "registry", "task", "spec", "backbone", "methods", "model", "features",
    "memory", "adapters", "probes", "train",
    "uploads", "fetch", "tasks", "store", "figures", "engine", "cli", "bench", "__init__",
    "__main__",
)  # fmt: skip
WINGS = ("uploads", "fetch", "tasks", "store", "figures", "engine", "cli", "bench")
CORE_LINES = 5000  # of code: blank lines, comments and docstrings apart; with the methods of today
METHODS_OF_TODAY, METHOD_LINES = 15, 150  # a further method brings its own lines and takes none from the rest
ROOT_FILES = 10


def modules(package: str) -> dict[str, Path]:
    """Dotted name -> file, of everything in a package."""
    files = {}
    for path in (ROOT / package).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def imported(path: Path) -> Iterator[str]:
    """Absolute dotted names that a file imports anywhere in it: in functions and under TYPE_CHECKING too."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*parts[: len(parts) - node.level]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def room(module: str) -> str:
    """The room of a module of peftcore: its folder, or its file at the root."""
    return (module.split(".") + ["__init__"])[1]


@functools.cache
def arrows() -> dict[str, set[str]]:
    """Room -> the rooms that it imports from."""
    known = modules("peftcore")
    found: dict[str, set[str]] = {room(module): set() for module in known}
    for module, path in known.items():
        for name in imported(path):
            while name and name not in known:
                name = name.rpartition(".")[0]
            if name and room(name) not in (room(module), "__init__"):  # every file imports the package itself
                found[room(module)].add(room(name))
    return found


def code_lines(path: Path) -> int:
    """Lines of code in a file: blank lines, comments and docstrings apart."""
    source = path.read_text()
    prose: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            prose |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    silent = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - prose)


def test_every_room_has_its_place():
    assert set(arrows()) == set(ROOMS), "a new room needs its place in ROOMS"


@pytest.mark.parametrize("name", ROOMS)
def test_arrows_only_go_down(name):
    """With a total order of all rooms there can be no circle between them."""
    below = set(ROOMS[: ROOMS.index(name)])
    assert arrows()[name] <= below, f"{name} imports from {sorted(arrows()[name] - below)}, not below it"


def test_the_core_knows_no_wing():
    for name in set(ROOMS) - {*WINGS, "__init__", "__main__"}:
        assert not arrows()[name] & set(WINGS), f"{name} is core and imports from {sorted(arrows()[name] & set(WINGS))}"


def test_the_core_is_compact():
    files = [path for module, path in modules("peftcore").items() if room(module) not in WINGS]
    most = CORE_LINES + METHOD_LINES * max(0, len(METHODS.names()) - METHODS_OF_TODAY)
    lines = sum(map(code_lines, files))
    assert lines <= most, f"the core has {lines} lines of code; at most {most}"
    assert len(list((ROOT / "peftcore").glob("*.py"))) <= ROOT_FILES


def test_no_file_imports_itself_through_others():
    """No circle between files either, in a room or across rooms."""
    known = modules("peftcore")
    graph: dict[str, set[str]] = {}
    for module, path in known.items():
        graph[module] = {target for name in imported(path) if (target := _module_of(name, known)) and target != module}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for target in graph[module]:
                visit(target, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def _module_of(name: str, known: dict[str, Path]) -> str | None:
    """The file that an imported name comes from; an attribute of a package comes from the package's own file."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name or None


def test_streamlit_stays_in_the_app_and_torch_off_the_pages():
    for module, path in modules("peftcore").items():
        assert not any(name.split(".")[0] in ("streamlit", "app", "pages") for name in imported(path)), module
    for path in (ROOT / "pages").glob("*.py"):
        assert not any(name.split(".")[0] == "torch" for name in imported(path)), path.name


LIGHT = (
    "peftcore", "peftcore.registry", "peftcore.store", "peftcore.engine", "peftcore.backbone.embedded",
    "peftcore.backbone.weights", "peftcore.store.variations", "peftcore.figures", "peftcore.task",
)  # fmt: skip


@pytest.mark.parametrize("name", LIGHT)
def test_light_imports_stay_light(name):
    code = f"import {name}, sys; print([m for m in ('torch', 'timm', 'ray', 'peft', 'streamlit') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "[]"
