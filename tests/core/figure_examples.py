"""Made-up numbers, and each figure drawn from some."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from peftcore.figures import (
    attention,
    compare,
    cost,
    curves,
    heads,
    kept,
    masks,
    memory,
    memory_curves,
    predictions,
    races,
    reached,
    score_steps,
    strip,
    tasks,
    theme,
)

RNG = np.random.default_rng(0)


MB = 1e6


def training(n: int, total: int = 200) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Made-up steps and evaluations of a run of `total` steps, of which `n` are done."""
    step = np.arange(1, n + 1)
    noise = np.random.default_rng(1).normal(0, 0.05, total)[:n]
    kept = [{"frozen_weights": 340 * MB, "activations": 90 * MB, "optimizer": 5 * MB} for _ in step]
    steps = pd.DataFrame(
        {
            "step": step,
            "loss": 2 * np.exp(-step / 50) + 0.2 + noise,
            "lr": 1e-3 * step / total,
            "grad_norm": 1 + 0.1 * noise,
            "memory": kept,
        }
    )
    done = [at for at in range(20, n + 1, 20)]
    return steps, pd.DataFrame({"step": done, "split": "val", "accuracy": [1 - np.exp(-at / 60) for at in done]})


def one_step(blocks: int = 4, each: int = 5) -> list[dict]:
    """A made-up step: activations grow through forward and shrink through backward."""
    rows = []
    for phase, order in (("forward", range(blocks)), ("backward", reversed(range(blocks)))):
        for block in order:
            for part in range(each):
                depth = block * each + (part if phase == "forward" else each - 1 - part)
                rows.append(
                    {
                        "phase": phase,
                        "where": f"blocks.{block}",
                        "frozen_weights": 300 * MB,
                        "activations": (depth + 1) * 20 * MB,
                        "gradients": 0.0 if phase == "forward" else 3 * MB,
                    }
                )
    rows.append(
        {"phase": "optimizer", "where": "", "frozen_weights": 300 * MB, "gradients": 3 * MB, "optimizer": 6 * MB}
    )
    return [row | {"t": index / (len(rows) - 1)} for index, row in enumerate(rows)]


def kept_rows() -> list[dict]:
    """Rows as from compare_block: one tensor that both keep, one that is dropped, two small ones."""
    why = {
        "norm": "input of a linear layer: the gradient of its weight is dL/dy^T x",
        "pair": "input of a product with a trained matrix: that matrix's gradient needs it; input of a layer norm: its",
        "off": "only a frozen weight's gradient would need it",
        "none": "this method does not compute it",
    }
    rows = [
        ("output of norm1", 60, 60, "norm", "pair"),
        ("output of mlp.act", 40, 0, "norm", "off"),
        ("means of norm1", 0.5, 0.5, "norm", "norm"),
        ("output of attn.q", 0, 0.7, "none", "pair"),
    ]
    return [
        {
            "what": what,
            "shape": [4, 65, 128],
            "size": max(full, lora) * MB,
            "bytes": {"full": int(full * MB), "lora": int(lora * MB)},
            "reason": {"full": why[first], "lora": why[second]},
        }
        for what, full, lora, first, second in rows
    ]


def foretold() -> list[dict]:
    """Runs with their predictions, off by 0, 1 and 4 %."""
    sizes = (("lora", 60, 60), ("last", 15, 15.15), ("last", 25, 24))
    return [
        {"run": i, "title": f"{m} on digits", "method": m, "predicted": int(p * MB), "measured": int(real * MB)}
        for i, (m, real, p) in enumerate(sizes)
    ]


def needs() -> dict[str, dict[str, int]]:
    """Sums as from memory.totals, for ViT-B/16."""
    rows = {
        "full": (1030, 3720, 3700, 0, 0, 343),
        "lora": (3.6, 2546, 2540, 0, 0, 1.2),
        "last": (7.5, 60, 0, 900, 136, 2.5),
    }
    parts = ("gradients", "activations", "inside", "cached_features", "features", "trained")
    return {name: {p: int(v * MB) for p, v in zip(parts, row, strict=True)} for name, row in rows.items()}


def bars() -> list[dict]:
    full = {"method": "full", "trainable_weights": 340 * MB, "gradients": 340 * MB, "activations": 3660 * MB}
    last = {
        "method": "last",
        "frozen_weights": 340 * MB,
        "trainable_weights": 2 * MB,
        "features": 150 * MB,
        "activations": 90 * MB,
    }
    return [
        full | {"source": "measured"},
        last | {"source": "measured"},
        full | {"source": "predicted", "activations": 3700 * MB},
        last | {"source": "predicted"},
    ]


def lanes() -> list[races.Lane]:
    """Two that are running and one that is waiting."""
    steps = pd.DataFrame({"epoch": np.arange(1, 31) / 10, "loss": np.geomspace(2, 0.5, 30)})
    accuracies = pd.DataFrame({"epoch": [1, 2, 3], "accuracy": [0.3, 0.5, 0.6]})
    empty = pd.DataFrame({"epoch": [], "loss": []}), pd.DataFrame({"epoch": [], "accuracy": []})
    return [
        races.Lane("a", "last", steps, accuracies, 30),
        races.Lane("b", "last", steps, accuracies, 30),
        races.Lane("c", "lora", *empty),
    ]


IMAGE = RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)


SCORES = RNG.gamma(2, 0.01, (8, 6))


MAP, OTHER = RNG.gamma(0.5, 1, (8, 8)), RNG.gamma(0.5, 1, (8, 8))


RESULTS = [
    {"method": "full", "accuracy": 0.95, "parameters": 86e6, "memory": 4.9e9, "spread": 0.01},
    {"method": "last", "accuracy": 0.94, "parameters": 617_472, "memory": 0.6e9},
    {"method": "linear", "accuracy": 0.80, "parameters": 7690, "memory": 0.4e9},
]


def loss_with_a_cut(dark: bool) -> go.Figure:
    figure = curves.loss_curve(*training(120), 200, method="heart_lora", dark=dark)
    return masks.mark_steps(figure, {40: "heads cut"}, dark=dark)


# (function, its arguments): every figure is here, or in `EXAMPLES` of its own file as {function's name: arguments}.
EXAMPLES: list[tuple[Callable[..., go.Figure], dict]] = [
    (
        curves.loss_curve,
        dict(zip(("steps", "evaluations"), training(120), strict=True), total_steps=200, method="last"),
    ),
    (curves.loss_curve, dict(steps=pd.DataFrame(), evaluations=pd.DataFrame(), total_steps=200)),
    (curves.learning_rate_curve, dict(steps=training(50)[0], total_steps=200)),
    (curves.gradient_norm, dict(steps=training(50)[0], total_steps=200)),
    (memory_curves.memory_over_steps, dict(steps=training(50)[0], total_steps=200)),
    (memory_curves.memory_over_steps, dict(steps=pd.DataFrame(), total_steps=200)),
    (memory_curves.step_memory, dict(curve=one_step())),
    (memory.memory_bars, dict(rows=bars(), cards=memory.CARDS)),
    (memory.memory_bar, dict(components=bars()[1], ghost=4.3e9)),
    (kept.kept_activations, dict(rows=kept_rows(), block="blocks.6")),
    (kept.training_needs, dict(needs=needs())),
    (predictions.predicted_against_measured, dict(rows=foretold())),
    (heads.head_grid, dict(values=SCORES, score="taylor", projection="v", selected=(2, 3))),
    (heads.layer_profile, dict(values=SCORES, score="taylor")),
    (
        score_steps.scores_over_steps,
        dict(frames=[{"step": 10 * i, "values": SCORES * i} for i in (1, 2, 3)], score="taylor", projection="v"),
    ),
    (
        masks.heads_off,
        dict(rows=[{"label": f"stage {i}, 2 layers", "heads": 4 * i, "off": i, "layers": 2} for i in (1, 2)]),
    ),
    (masks.heads_off, dict(rows=[{"label": f"layer {i}", "heads": 8, "off": [i, 3], "layers": 1} for i in (1, 2)])),
    (
        masks.mask_grid,
        dict(values=SCORES, off=[[0, 2], *[[]] * 7], before=[[1, 2], *[[]] * 7], score="taylor"),
    ),
    (loss_with_a_cut, {}),
    (attention.attention_overlay, dict(image=IMAGE, grid=MAP, query=(1, 2))),
    (attention.patch_picker, dict(image=IMAGE, grid_shape=(8, 8), selected=(1, 2))),
    (attention.attention_difference, dict(a=MAP, b=OTHER, image=IMAGE)),
    (
        compare.runs_overlay,
        dict(
            runs={
                name: pd.DataFrame({"epoch": [1, 2, 3], "val_accuracy": [0.3, 0.6, end]})
                for name, end in (("one", 0.9), ("two", 0.8))
            },
            methods={"one": ("last", "side"), "two": ("lora", None)},
        ),
    ),
    (cost.accuracy_vs_cost, dict(rows=RESULTS, cost="parameters")),
    (cost.accuracy_vs_cost, dict(rows=RESULTS, cost="memory")),
    (races.race_curves, dict(lanes=lanes(), epochs=3, title="rank 8 leads", leader=1)),
    (reached.reached, dict(accuracies={"lora": [60, 64], "linear": [40, 42]}, chance=10)),
    (strip.image_strip, dict(images=[IMAGE] * 3, numbers=[0, 1, 2], names=list("abc"))),
    (tasks.class_balance, dict(counts={"train": {"a": 8, "b": 4}, "test": {"a": 2, "b": 2}})),
    (tasks.projection, dict(points=RNG.normal(size=(30, 2)), labels=np.arange(30) % 3, classes=list("abc"))),
]


MODULES = [
    importlib.import_module(f"peftcore.figures.{file.stem}")
    for file in sorted(Path(theme.__file__).parent.glob("[!_]*.py"))
]


EXAMPLES += [
    (getattr(module, name), given) for module in MODULES for name, given in getattr(module, "EXAMPLES", {}).items()
]


def example(draw: Callable[..., go.Figure]) -> go.Figure:
    return next(draw(**given) for function, given in EXAMPLES if function is draw)


def titled(figure: go.Figure) -> str:
    """The title on one line."""
    return figure.layout.title.text.replace("<br>", " ")
