"""The floors of the design, proved from the import statements: a file imports from its own floor or lower ones."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = {
    "errors": 0, "registry": 0, "spec": 0, "events": 0, "compat": 0, "answers": 0, "variations": 0, "sizes": 0,
    "methods": 1, "tasks": 1, "uploads": 1, "backbone": 1, "features": 1, "memory": 1, "store": 1, "model": 1, "scores": 1,
    "preprocess": 1, "packing": 1, "embedded": 1, "database": 1,
    "anatomy": 1,
    "weights": 1, "curated": 0, "download": 2, "transfer": 1, "hub": 1, "arriving": 2,
    "shelf": 1, "placement": 1,
    "recipe": 1, "petl_vit": 1, "conditions": 1,
    "train": 2, "batch": 2, "checkpoint": 2, "probes": 2, "figures": 2, "adapters": 2, "exchange": 2, "racing": 2, "bench": 2,
    "engine": 3, "__main__": 3, "catalogue": 3,
    "options": 3, "cluster": 3, "lease": 3, "worker": 3, "job": 3,
    "app": 4, "pages": 5, "streamlit_app": 5,
}  # fmt: skip


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[1] if parts[0] == "peftcore" else parts[0]


def imports(path: Path):
    """Absolute dotted names that a file imports anywhere in it, functions included."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


FILES = [
    path
    for path in [
        *ROOT.glob("peftcore/**/*.py"),
        *ROOT.glob("app/**/*.py"),
        *ROOT.glob("pages/*.py"),
        ROOT / "streamlit_app.py",
    ]
    if path != ROOT / "peftcore/__init__.py"
]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path):
    floor = FLOORS[room(path)]
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "peftcore" and len(parts) > 1 and parts[1] in FLOORS:
            assert FLOORS[parts[1]] <= floor, f"{path.name} on floor {floor} imports {name}"
        if parts[0] in ("app", "pages"):
            assert FLOORS[parts[0]] <= floor, f"{path.name} on floor {floor} imports {name}"
        if parts[0] == "streamlit":
            assert floor >= 4, f"{path.name} imports streamlit"
        if parts[0] == "torch":
            assert floor < 5, f"{path.name}: pages hold no torch"


@pytest.mark.parametrize(
    "name",
    [
        "peftcore",
        "peftcore.registry",
        "peftcore.store.runs",
        "peftcore.engine.engine",
        "peftcore.backbone.embedded",
        "peftcore.backbone.weights",
        "peftcore.figures",
    ],
)
def test_light_imports_stay_light(name):
    code = f"import {name}, sys; print([m for m in ('torch', 'timm', 'ray', 'peft', 'streamlit') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).strip() == "[]"
