"""Stability of head scores: what agrees fully, what agrees by chance, and when a warm-up is over."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from backbones import images, nudge, small

import peftcore as pc
from peftcore.bench import _stability
from peftcore.bench._stability import over_images, over_seeds, over_steps, settled
from peftcore.errors import BadData
from peftcore.methods._scores import HeadScores


def scores(values, score="taylor"):
    values = np.asarray(values, float)
    return HeadScores(values[:, None], ("q",), tuple(f"blocks.{i}" for i in range(len(values))), score)


def test_seeds_that_rank_heads_alike_agree_whatever_their_scale():
    rng = np.random.default_rng(0)
    grid = rng.gamma(2, size=(4, 6))
    found = over_seeds([grid, 3 * grid, grid**3], top=5)
    assert found.mean == pytest.approx(1) and len(found.always) == 5
    assert found.always[0] in {tuple(at) for at in np.argwhere(grid >= np.sort(grid.ravel())[-5])}
    assert found.expected == pytest.approx(24 * (5 / 24) ** 3)
    opposite = over_seeds([grid, -grid], top=5)
    assert opposite.mean == pytest.approx(-1) and not opposite.always
    with pytest.raises(BadData):
        over_seeds([grid])


def test_grids_of_other_heads_are_not_compared():
    with pytest.raises(BadData, match="the same heads"):
        over_seeds([np.ones((2, 3)), np.ones((2, 4))])


def test_a_warm_up_is_settled_where_the_cut_stays_what_it_is_at_the_end():
    method = pc.make_method("heart_lora", n_off=1)
    early, late = scores([[1, 2, 3], [1, 2, 3]]), scores([[3, 2, 1], [3, 2, 1]])
    table = over_steps([(5, early), (10, late), (15, late)], method)
    assert (
        table["step"].tolist() == over_steps([(5, early), (10, late), (15, late), (15, late)], method)["step"].tolist()
    )
    assert table.step.tolist() == [5, 10, 15] and table.same.tolist() == [0, 1, 1]
    assert table.rho.tolist() == pytest.approx([-1, 1, 1])
    assert settled(table) == 10 and settled(table, "rho", -1) == 5
    relapse = pd.DataFrame({"step": [1, 2, 3, 4], "same": [1.0, 0.5, 1.0, 1.0]})
    assert settled(relapse) == 3
    equal = pd.DataFrame({"step": [1, 2], "rho": [0.0, 0.0]})  # a constant's correlation with itself
    assert settled(equal, "rho") == 2


def test_a_correlation_below_nought_has_a_minus_and_no_hyphen():
    from peftcore.figures import effects, stability

    said = stability.agreeing(np.array([[1, 0.9, -0.61], [0.9, 1, 0.5], [-0.61, 0.5, 1]]), ["a", "b", "c"])
    assert said == "A and b (ρ = 0.90) agree best, a and c (ρ = \N{MINUS SIGN}0.61) least"
    assert effects.verdict(-0.5, 0.001).endswith("(ρ = \N{MINUS SIGN}0.50)")
    late = stability.over_steps([5, 10], [0.4, 1.0], [0.5, 1.0], 10).layout.title.text
    assert "still changes" in late and "100" not in late  # a cut that is not settled is not settled after 100 %


def test_all_images_agree_with_themselves_and_fewer_with_as_many_others():
    model = nudge(pc.attach(small("vit"), "lora", 3), 0.1).eval()
    x, y = images(small("vit"), 7), np.arange(7) % 3
    shares = []
    import torch

    table = over_images(model, x, torch.tensor(y), batch=2, progress=shares.append)
    assert table.images.tolist() == [2, 4, 7] and table.whole.iloc[-1] == pytest.approx(1) and shares[-1] == 1
    whole = np.mean([pc.head_scores(model, x[i : i + 2], y[i : i + 2]).values for i in range(0, 7, 2)], 0)
    half = np.mean([pc.head_scores(model, x[i : i + 2], y[i : i + 2]).values for i in (0, 2)], 0)
    from scipy.stats import spearmanr

    expected = spearmanr(np.nansum(whole, 1).ravel(), np.nansum(half, 1).ravel())[0]
    assert table.whole.iloc[1] == pytest.approx(expected) and np.isfinite(table.other.iloc[:2]).all()
    with pytest.raises(BadData, match="at least 20"):
        over_images(model, x, torch.tensor(y))


def test_the_command_reads_a_runs_scores_and_its_other_seeds(tmp_path, monkeypatch):
    import json

    from typer.testing import CliRunner

    from peftcore.__main__ import app
    from peftcore.adapters.save import to_bytes
    from peftcore.store import Store

    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path))
    store, method = Store(tmp_path), {"name": "lora", "rank": 2, "projections": ["q"]}
    model = nudge(pc.attach(small("vit"), method, 10))
    for seed in (0, 1):
        run = store.create_run(pc.RunSpec(method=method, task="digits", seed=seed).to_dict())
        values = np.random.default_rng(seed).random((5, 4))
        events = [{"kind": "scores", "step": 5, "epoch": 1, "scores": scores(values).to_dict()}]
        store.append(run, events, {"adapter": to_bytes(model)})
        store.set_status(run, "finished")
    found = json.loads(CliRunner().invoke(app, ["heads", "1", "--stability", "--images", "20", "--json"]).stdout)
    own = store.run(1).spec | {"method": {"name": "heart_lora", "rank": 2, "n_off": 3, "off": [[0]], "scope": "layer"}}
    rules = []
    over_steps = _stability.over_steps
    monkeypatch.setattr(_stability, "over_steps", lambda history, rule: rules.append(rule) or over_steps(history, rule))
    with store.write() as db:
        db.execute("UPDATE runs SET spec = ? WHERE id = 2", (json.dumps(own),))
    CliRunner().invoke(app, ["heads", "2", "--stability", "--images", "20", "--json"])
    assert (rules[0].n_off, rules[0].scope, rules[0].off) == (3, "layer", None), "the run's own rule"
    assert found["settled"] == 5 and found["seeds"]["seeds"] == [0, 1] and len(found["images"]) == 2
    shown = CliRunner().invoke(app, ["heads", "1", "--score", "distance", "--images", "2", "--json"])
    assert np.shape(json.loads(shown.stdout)["values"]) == (5, 1, 4)
