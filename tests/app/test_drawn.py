"""What is drawn from the same data is built once, whoever looks; and it is what building it gives."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from app import drawn, figure, numbers
from app.drawn import kept, once, plan
from app.runs import following
from peftcore.figures import curves
from peftcore.figures.theme import marked

BUILT = []


def _figure(frame: pd.DataFrame, *, dark: bool = False) -> go.Figure:
    BUILT.append(dark)
    return go.Figure(go.Scatter(x=frame["step"], y=frame["loss"], name="loss"), layout={"title": {"text": f"{dark}"}})


def _frame(steps: int) -> pd.DataFrame:
    return pd.DataFrame({"step": np.arange(steps), "loss": np.linspace(1, 0, steps)})


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch):
    monkeypatch.setattr(drawn, "_kept", drawn.OrderedDict())
    BUILT.clear()


def _drawn(one: drawn.Plan) -> drawn.Drawn:
    return kept(one.key, lambda: figure.of(one.figure(), one, True))


def test_equal_values_are_one_figure_and_others_another():
    first, again = _drawn(plan(_figure, _frame(5))), _drawn(plan(_figure, _frame(5)))
    assert first is again and BUILT == [False]
    others = [plan(_figure, _frame(6)), plan(_figure, _frame(5), dark=True), plan(_figure, _frame(5)).and_(marked, "x")]
    assert len({first.json, *(_drawn(one).json for one in others)}) == 4 and len(BUILT) == 4
    assert first.json == _figure(_frame(5)).to_json(validate=False)
    assert "x" in json.loads(_drawn(others[-1]).json)["layout"]["title"]["text"]
    assert numbers._csv(first) == numbers._csv(_figure(_frame(5))) and first.title == "False"


def test_what_cannot_be_compared_is_not_kept():
    assert plan(lambda: go.Figure()).key is None and plan(_figure, lambda: 1).key is None
    assert once(len, "abc") == 3 and len(drawn._kept) == 1
    once(max, [1], key=lambda one: one)
    assert len(drawn._kept) == 1


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(drawn, "MOST_BYTES", 100)
    for nth in range(9):
        kept(nth, lambda: b"x", lambda made: 30)
    assert list(drawn._kept) == [6, 7, 8]


def test_watchers_share_what_was_read_and_keep_what_they_were_given(store):
    run = store.create_run({"method": {"name": "lora"}})
    steps = [{"kind": "step", "step": n, "loss": 1.0, "memory": {}} for n in range(1, 4)]
    store.append(run, steps[:2])
    first, other = (following.follow(store, store.run(run)) for _ in range(2))
    assert first is other and first.frame() is other.frame() and len(first.frame()) == 2
    store.append(run, steps[2:])
    later = following.follow(store, store.run(run))
    assert (later.done, first.done, len(first.frame())) == (3, 2, 2)
    once_built = plan(curves.gradient_norm, later.frame(), 3).key
    assert once_built == plan(curves.gradient_norm, following.follow(store, store.run(run)).frame(), 3).key
