"""The table of scores against causes: a run is measured once, and a log is gone on with."""

from __future__ import annotations

import json

import numpy as np
from backbones import nudge, small

import peftcore as pc
from peftcore.adapters.save import to_bytes
from peftcore.bench import heads
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
        file.write(json.dumps(first | {"key": f"{wanted[1].key}/3", "seed": 1}) + "\n")
    both = list(heads.measure(wanted, 3, log))
    assert made == [0] and both[0] == first and first["settled"] == 0.5
    assert all(-1 <= row[name] <= 1 for row in both for name in heads.RHOS)
    [digits, whole] = heads.summary(both)
    assert digits["seeds"] == "2" and "±" in digits["rho taylor/update"] and whole["task"] == "all"
