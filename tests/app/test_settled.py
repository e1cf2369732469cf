"""Objects that imports made are not looked through again at each collection."""

from __future__ import annotations

import gc
import sys

from app import settled


def test_what_imports_made_is_left_out_once(monkeypatch):
    monkeypatch.setattr(settled, "_seen", 0)
    before = gc.get_freeze_count()
    try:
        assert settled.settle() and gc.get_freeze_count() > before + 10_000
        assert not settled.settle(), "nothing was imported since"
        monkeypatch.setattr(settled, "_seen", len(sys.modules) - settled.MANY)
        assert settled.settle()
    finally:
        gc.unfreeze()
