"""What all tests share: one thread per process, a store of their own, small backbones."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest

import peftcore  # noqa: F401  # before anybody imports timm: it lets torchvision be imported beside another torch


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch):
    """No test ever reads or writes the user's runs."""
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path / "home"))
