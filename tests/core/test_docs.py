"""The README tells of everything that is registered, and its Python really runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from peftcore.registry import METHODS, TASKS
from peftcore.task import task_card

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", [*METHODS.names(), *(task_card(name).shown for name in TASKS.names())])
def test_whatever_is_registered_is_documented(name):
    assert f"| `{name}` " in README, f"run python scripts/docs.py: README.md does not tell of {name}"


def test_the_tables_are_fresh():
    result = subprocess.run([sys.executable, "scripts/docs.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_links_and_pictures_exist():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_public_names_resolve():
    import peftcore as pc

    for name in re.findall(r"\bpc\.(\w+)", README):
        assert getattr(pc, name)
