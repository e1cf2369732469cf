"""The system's count of a process's memory agrees with the ledger's count of its tensors."""

from __future__ import annotations

import pytest

from peftcore import errors
from peftcore.bench import witness as bench
from peftcore.bench.witness import PARTS, witness
from peftcore.spec import RunSpec


@pytest.mark.parametrize("method, settings", [("full", {}), ("last", {"cache_features": True})])
def test_the_process_had_at_its_peak_what_the_ledger_counts(method, settings):
    """The rest is small once the C library returns freed memory: the ledger misses nothing large."""
    found = witness(RunSpec(method=method, batch_size=32, **settings))
    assert sum(found[part] for part in PARTS) == found["process"] - found["ledger"]
    assert found["ledger"] == found["predicted"]
    unseen = found["beside the model"] + found["inside operators"]
    assert 0 <= unseen < 0.05 * found["ledger"] + 4e6, found
    assert found["freed, not returned"] > -4e6


def test_a_system_that_cannot_be_asked_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "_FORGET", tmp_path / "clear_refs")
    with pytest.raises(errors.InvalidSetting, match="clear_refs and VmHWM, which"):
        witness(RunSpec())


def test_a_process_that_the_system_ended_is_a_sentence(monkeypatch):
    ended = bench.subprocess.CompletedProcess([], -9, "", "")
    monkeypatch.setattr(bench.subprocess, "run", lambda *_, **__: ended)
    with pytest.raises(errors.OutOfMemory, match="ended by signal 9"):
        witness(RunSpec(method="linear", batch_size=2))
