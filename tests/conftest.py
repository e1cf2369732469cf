"""Shared by all tests: one thread per process, a store of their own, small backbones, methods that a test adds."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

import peftcore  # before anybody imports timm: it lets torchvision be imported beside another torch
from peftcore.registry import METHODS

# Some fifty processes import the same modules: compiled once, also where the environment says not to keep that.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

NEWCOMERS = Path(__file__).parent / "newcomers"


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    """No test ever reads or writes the user's runs."""
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path / "home"))


@pytest.fixture
def room(tmp_path) -> Iterator[Any]:
    """A room in the test's own folder."""
    from peftcore.engine.room import Room

    here = Room(tmp_path)
    yield here
    here.close()


@pytest.fixture(scope="module")
def newcomers() -> Iterator[tuple[str, ...]]:
    """Methods that are files elsewhere, one of each kind: added to the registry while a module's tests run."""
    before = METHODS.names()
    METHODS.add_folder(NEWCOMERS)
    added = tuple(name for name in METHODS.names() if name not in before)
    yield added
    METHODS.folders.remove(NEWCOMERS)
    peftcore.methods.__path__.remove(str(NEWCOMERS))
    del METHODS._files
    for name in added:
        sys.modules.pop(f"peftcore.methods.{name}", None)
