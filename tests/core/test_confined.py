"""What a name may read of this machine: with HEADROOM_DATA only what lies below it, in a room without it nothing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from peftcore import errors
from peftcore.backbone.load import load_backbone
from peftcore.backbone.understood import check_understood  # noqa: F401  (timm is imported once, before the clock runs)
from peftcore.fetch import places
from peftcore.store import Store
from peftcore.task import load_task

NAMES = ("folder:{}", "vtab:{}", "fewshot:{}")


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """A folder of weights and images outside of the one that may be read."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"secret")
    (folder / "config.json").write_text('{"architecture": "vit_tiny_patch16_224"}')
    return folder


@pytest.mark.parametrize("data", ["none", "allowed"])
def test_tasks_weights_and_backbones_read_nothing_outside(tmp_path, elsewhere, monkeypatch, data):
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "out").symlink_to(elsewhere)
    monkeypatch.setenv("HEADROOM_DATA", str(allowed) if data == "allowed" else data)
    for path in (elsewhere, "/etc", "../elsewhere", "~", allowed / "out"):
        for name in NAMES:
            with pytest.raises(errors.BadData, match="HEADROOM_DATA"):
                load_task(name.format(path))
        with pytest.raises(errors.BadData, match="HEADROOM_DATA"):
            load_backbone("vit_tiny_patch16_224", weights=path)
        with pytest.raises(errors.BadData, match="HEADROOM_DATA|whole path"):
            load_backbone(f"local-dir:{path}", device="meta")
    with pytest.raises(errors.BadData, match="HEADROOM_DATA"):
        load_backbone("vit_tiny_patch16_224", weights=elsewhere / "model.safetensors")


def test_what_lies_below_is_read_and_without_it_all_is(tmp_path, elsewhere, monkeypatch):
    file = elsewhere / "model.safetensors"
    assert places.weights_file(elsewhere) == file
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path))
    assert places.weights_file(Path("elsewhere")) == file and places.weights_file(file) == file


def test_the_store_is_its_owners(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    monkeypatch.setenv("HEADROOM_HOME", str(home))
    (home / "headroom.sqlite3").touch(mode=0o644)  # of an earlier Headroom
    store = Store()
    store.create_run({"method": "last"})
    for path in (home, *home.glob("headroom.sqlite3*")):
        assert stat.S_IMODE(os.stat(path).st_mode) == (0o700 if path == home else 0o600), path


@pytest.mark.parametrize("data", ["none", "allowed"])
def test_what_comes_with_headroom_is_read_where_no_folder_may_be_named(tmp_path, monkeypatch, data):
    (tmp_path / "allowed").mkdir()
    monkeypatch.setenv("HEADROOM_DATA", str(tmp_path / "allowed") if data == "allowed" else data)
    backbone = load_backbone("vit_micro")
    assert backbone.name == "vit_micro"
    assert places.located(backbone.module.pretrained_cfg).is_file(), "in a room, each run reads it so"
    with pytest.raises(errors.BadData, match="HEADROOM_DATA"):
        places.located(backbone.module.pretrained_cfg | {"file": "/etc/hostname"})
