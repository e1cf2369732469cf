"""README and docs are complete: everything registered is listed, tables are fresh, links and names resolve."""

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


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))], ids=lambda page: page.name)
def test_links_and_pictures_exist(page):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_variable_that_the_code_reads_is_in_the_settings_table():
    table = (ROOT / "docs" / "settings.md").read_text()
    files = [*ROOT.glob("peftcore/**/*.py"), *ROOT.glob("app/**/*.py"), *ROOT.glob("pages/*.py")]
    read = {name for file in files for name in re.findall(r"\bHEADROOM_[A-Z_]*[A-Z]\b", file.read_text())}
    assert read and not (read - set(re.findall(r"`(HEADROOM_[A-Z_]+)`", table)))


def test_public_names_resolve():
    import peftcore as pc

    for name in re.findall(r"\bpc\.(\w+)", README):
        assert getattr(pc, name)
