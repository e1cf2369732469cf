"""Is a head score stable? The same heads by another seed, by a shorter warm-up, by other images. No torch at import."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from peftcore.figures.agreement import rank_correlations
from peftcore.store.variations import same_but_seed

TOP = 10  # heads that "always" means
BATCH = 10  # images in a step, where scores are compared over their number


@dataclass(frozen=True)
class Seeds:
    """`correlations` (seeds, seeds): Spearman's rho between their scores. `mean`: over pairs. `always`: (layer, head)
    of those among the `top` highest of every seed, `expected`: how many there would be by chance."""

    correlations: np.ndarray
    mean: float
    always: tuple[tuple[int, int], ...]
    top: int
    expected: float


def over_seeds(grids: Sequence[np.ndarray], top: int = TOP) -> Seeds:
    """How far runs agree that differ in nothing but the seed. `grids`: scores (layers, heads) of each.

    Raises:
        BadData: fewer than two, or grids of other heads.
    """
    from peftcore.errors import BadData

    if len(shapes := {np.shape(grid) for grid in grids}) > 1:
        raise BadData(f"Scores of several seeds are of the same heads, but their shapes are {sorted(shapes)}.")
    correlations = rank_correlations(np.stack([np.asarray(grid, float) for grid in grids]))
    count = int(np.isfinite(grids[0]).sum())
    top = min(top, count)
    highest = [set(_by_value(grid)[:top]) for grid in grids]
    always = tuple(sorted(set.intersection(*highest)))
    pairs = correlations[np.triu_indices(len(grids), 1)]
    return Seeds(correlations, float(pairs.mean()), always, top, count * (top / count) ** len(grids))


def seeds_of(store: Any, run: int) -> tuple[list[tuple[int, Any]], dict[int, np.ndarray]]:
    """A run's scores by step, and by seed the last scores (layers, heads) of it and of the finished runs of the store
    that differ in nothing else.

    Raises:
        NotMeasurable: the run has no head scores.
        UnknownName: there is no such run.
    """
    from peftcore import errors
    from peftcore.methods._scores import HeadScores

    spec = store.run(run).spec
    history = [(e["step"], HeadScores.from_dict(e["scores"])) for e in store.events(run, kinds="scores")]
    if not history:
        raise errors.NotMeasurable(f"Run {run} has no head scores: LoRA or one of its relatives on q, k or v has.")
    found = {spec["seed"]: summed(history[-1][1].values)}
    for other in store.runs(status="finished"):
        seed, last = other.spec["seed"], store.last_event(other.id, "scores")
        if seed not in found and last and same_but_seed(other.spec, spec):
            found[seed] = summed(HeadScores.from_dict(last["scores"]).values)
    return history, dict(sorted(found.items()))


def summed(values: np.ndarray) -> np.ndarray:
    """(layers, projections, heads) -> (layers, heads), NaN where there is no head."""
    return np.where(np.isfinite(values).any(1), np.nansum(values, 1), np.nan)


def _by_value(grid: np.ndarray) -> list[tuple[int, int]]:
    """(layer, head), the highest first."""
    where = [(int(layer), int(head)) for layer, head in np.argwhere(np.isfinite(grid))]
    return sorted(where, key=lambda at: -grid[at])


def over_steps(history: Iterable[tuple[int, Any]], method: Any = None) -> pd.DataFrame:
    """How soon scores are what they are at the end: one row for each recorded step.

    Args:
        history: (step, HeadScores), in order; scores are means over all steps so far.
        method: whose `choose_off` cuts heads, a Heart-LoRA; the default one where None.

    Returns step; rho, Spearman's with the last step's scores; same, the share of the heads that the last step's scores
    would switch off which this step's would switch off as well.
    """
    from peftcore.methods import make_method

    history, method = list(dict(history).items()), method or make_method("heart_lora")
    cuts = [_cut(method, scores) for _, scores in history]
    grids = np.stack([summed(scores.values) for _, scores in history])
    rho = rank_correlations(grids)[-1] if len(grids) > 1 else np.ones(1)
    last = cuts[-1]
    same = [len(cut & last) / len(last) if last else 1.0 for cut in cuts]
    return pd.DataFrame({"step": [step for step, _ in history], "rho": rho, "same": same})


def _cut(method: Any, scores: Any) -> set[tuple[int, int]]:
    heads = [int(np.isfinite(layer).any(0).sum()) for layer in scores.values]
    paths = [path.rpartition(".")[0] for path in scores.layers]
    stages = [[i for i, path in enumerate(paths) if path == stage] for stage in dict.fromkeys(paths)]
    off = method.choose_off(scores, heads, stages)
    return {(layer, head) for layer, each in enumerate(off) for head in each}


def settled(table: pd.DataFrame, column: str = "same", least: float = 1.0) -> int:
    """The first recorded step from which on `column` never falls below `least` again; the last one where it is below at
    the end, as the rank correlation of equal scores is."""
    below = np.nonzero(table[column].to_numpy() < least - 1e-9)[0]
    return int(table["step"].iloc[min(int(below[-1]) + 1, len(table) - 1) if len(below) else 0])


def over_images(model: Any, images: Any, labels: Any, batch: int = BATCH, progress: Any = None) -> pd.DataFrame:
    """How many images a Taylor score needs: one row for each number of images that doubles, and for all.

    Images (B, C, H, W) run in steps of `batch`, and a score is a mean over steps. Returns images; whole, the rank
    correlation of the first `images` with all; other, that with as many others, NaN past half of them.

    Raises:
        NotMeasurable: as `head_scores`.
        BadData: fewer than two batches.
    """
    from peftcore.errors import BadData
    from peftcore.probes.responsiveness import head_scores

    if len(images) < 2 * batch:
        raise BadData(f"Scores are compared over at least {2 * batch} images; there are {len(images)}.")
    parts = list(zip(images.split(batch), labels.split(batch), strict=True))
    steps = []
    for number, (x, y) in enumerate(parts, 1):
        steps.append(summed(head_scores(model, x, y).values))
        if progress:
            progress(number / len(parts))
    by_step = np.stack(steps)  # (steps, layers, heads)
    counts = [2**i for i in range(len(parts).bit_length()) if 2**i < len(parts)] + [len(parts)]
    rows = []
    for count in counts:
        first, whole, rest = by_step[:count].mean(0), by_step.mean(0), by_step[count : 2 * count]
        other = float(rank_correlations(np.stack([first, rest.mean(0)]))[0, 1]) if len(rest) == count else np.nan
        used = min(count * batch, len(images))
        rows.append((used, float(rank_correlations(np.stack([first, whole]))[0, 1]), other))
    return pd.DataFrame(rows, columns=["images", "whole", "other"])
