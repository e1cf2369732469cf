"""Fixtures that several files of tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from remote_data import endpoint
from serving import Files, serving


@pytest.fixture(scope="module")
def one_thread():
    """PyTorch on one thread, as long as a file of tests takes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty home; the folder around it."""
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def stocked(tmp_path, monkeypatch) -> Path:
    """A home with one set kept already."""
    from bad_uploads import good, zipped

    from peftcore import uploads

    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path / "home"))
    (tmp_path / "first").mkdir()
    uploads.keep(uploads.examine(zipped(tmp_path / "first", good())), "first")
    return tmp_path / "home"


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty home, and no network beyond this machine; the folder around it."""
    from peftcore.tasks.remote import hf, torchvision

    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    endpoint(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for loaded in (torchvision._task, hf._task):
        loaded.cache_clear()
    return tmp_path


@pytest.fixture
def server() -> Iterator[Files]:
    """A file server in place of the hub and other hosts."""
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """One Ray with room for one run at a time, whose workers find the toys."""
    from toys_on_ray import started

    yield from started(tmp_path_factory.mktemp("home"))


@pytest.fixture
def patience(monkeypatch):
    """However busy the machine is, a run that responds has time to stop on its own."""
    from peftcore.engine import job

    monkeypatch.setattr(job, "GRACE_SECONDS", 60.0)


@pytest.fixture
def gate(tmp_path) -> Path:
    """Runs that wait for it keep working until it exists."""
    return tmp_path / "gate"
