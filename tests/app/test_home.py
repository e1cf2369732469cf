"""The first page: a picture from real data, three doors, and no torch."""

from __future__ import annotations

import subprocess
import sys

from peftcore.spec import RunSpec

WITHOUT_TORCH = """
import sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file("streamlit_app.py", default_timeout=60).run()
assert not app.exception, app.exception
assert app.title[0].value.startswith("Fine-tune"), app.title
import os
assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE", "and where torch comes, its threads do not spin while they wait"
print("loaded" if "torch" in sys.modules else "without")
"""


def scores(step: int = 13) -> dict:
    values = [[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.9, 0.8]]]  # layers x projections x heads
    told = {
        "values": values,
        "projections": ["q", "v"],
        "layers": ["blocks.0", "blocks.1"],
        "score": "taylor",
        "mask": None,
    }
    return {"kind": "scores", "step": step, "epoch": 1, "scores": told}


def test_three_doors_and_a_recorded_example(at):
    page = at("home")
    assert not page.error
    assert {link.page for link in page.page_link} >= {"atlas", "launch", "memory"} or len(page.page_link) == 3
    assert any("recorded example" in caption.value for caption in page.caption)
    assert any("python -m peftcore run --method lora" in code.value for code in page.code)


def test_the_picture_is_of_the_newest_run_that_has_scores(at, store):
    run = store.create_run(RunSpec(method="lora").to_dict())
    store.append(run, [scores()])
    store.set_status(run, "finished", summary={"test_accuracy": 0.5, "val_accuracy": 0.5})
    other = store.create_run(RunSpec().to_dict())
    store.set_status(other, "finished", summary={"test_accuracy": 0.5, "val_accuracy": 0.5})
    page = at("home")
    assert any(
        f"run {run}, seed 0, test accuracy 0.500" in caption.value and "v projection" in caption.value
        for caption in page.caption
    )


def test_home_imports_no_torch(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["without"]


FIRST_BY_LINK = """
from unittest.mock import patch
from streamlit.testing.v1 import AppTest
import streamlit as st

asked = []
with patch.object(st, "set_page_config", lambda **settings: asked.append(settings)), patch("threading.Timer.start"):
    app = AppTest.from_file("streamlit_app.py", default_timeout=60).switch_page("pages/runs.py").run()
assert not app.exception, app.exception
print(app.title[0].value, len(asked))
"""


def test_first_visitor_by_a_link_gets_the_entry_script_too(tmp_path, monkeypatch):
    """A new server would run pages/runs.py alone; see app/__init__.py."""
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", FIRST_BY_LINK], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["What", "did", "each", "run", "learn,", "and", "what", "did", "it", "take?", "1"]
