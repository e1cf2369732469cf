"""The table of scores against causes: a run is measured once, and a log is gone on with."""

from __future__ import annotations

import json

import numpy as np
from backbones import nudge, small

import peftcore as pc
from peftcore.adapters.save import to_bytes
from peftcore.bench import _head_probes, heads
from peftcore.methods._scores import HeadScores
from peftcore.spec import RunSpec


def test_a_row_is_measured_once_and_means_are_over_seeds(tmp_path, monkeypatch):
    made = []

    def trained(spec):
        made.append(spec.seed)
        model = nudge(pc.attach(small("vit"), {"name": "lora", "rank": 2, "projections": ["q"]}, 10, seed=spec.seed))
        values, paths = np.random.default_rng(spec.seed).random((5, 1, 4)), tuple(f"blocks.{i}" for i in range(5))
        return [(step, HeadScores(values, ("q",), paths, "taylor")) for step in (5, 10)], to_bytes(model), 0.5

    monkeypatch.setattr(heads, "_trained", trained)
    wanted = [RunSpec(task="digits", method="lora", seed=seed, epochs=1) for seed in (0, 1)]
    log = tmp_path / "log.jsonl"
    [first] = heads.measure(wanted[:1], 3, log)
    with log.open("a") as file:  # as another process would have measured the second
        file.write(json.dumps(first | {"key": heads.key_of(wanted[1], 3), "seed": 1}) + '\n{"key": "cut o')
    both = list(heads.measure(wanted, 3, log))
    assert made == [0] and both[0] == first and first["settled"] == 0.5
    tested = [f"{name}/{of}" for name in heads.SCORES for of in ("update", "head")]
    assert all(row[name] is None or -1 <= row[name] <= 1 for row in both for name in tested)
    assert {len(first["areas"]["loss"][order]) for order in _head_probes.ORDERS} == {1, 5}
    [digits, whole] = heads.summary(both)
    assert digits["seeds"] == "2" and "±" in digits["taylor"] and whole["task"] == "all"
    assert {row["probe"] for row in heads.durations(both)} == set(first["seconds"])
