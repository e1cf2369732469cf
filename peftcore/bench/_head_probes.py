"""All probes of the heads of one trained model: scores, what switching heads off does, and how the two agree."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import numpy as np

from peftcore.figures.effects import rank_correlation
from peftcore.spec import RunSpec

FEWER = 48  # images of conductance and of attention's traits, as on the Heads page: they cost most
POINTS = 9  # of a deletion curve
RANKED = 0.95  # Spearman's rho with the last scores, from which on ranks count as settled
ORDERS = ("least", "most", "random")


def probed(spec: RunSpec, history: list[tuple[int, Any]], blob: bytes, images: int) -> dict[str, Any]:
    """What every probe says of one run, by its last scores, those before them, and its adapter; see `heads.measure`."""
    import torch

    from peftcore.adapters import from_bytes
    from peftcore.backbone.preprocess import prepare
    from peftcore.bench._deletion import head_deletion
    from peftcore.bench._opinions import attention_traits, head_conductance
    from peftcore.bench._stability import over_steps, settled, summed
    from peftcore.methods import make_method
    from peftcore.probes.effects import head_effects
    from peftcore.probes.responsiveness import head_energy
    from peftcore.task import load_task

    model, val, seconds = from_bytes(blob), load_task(spec.task).val, {}
    x = prepare(val.images[:images], model.backbone, spec.normalisation, resize=spec.resize)
    y = torch.tensor(val.labels[:images])

    def timed(name: str, probe: Any, *given: Any) -> Any:
        began = perf_counter()
        found = probe(model, *given)
        seconds[name] = round(perf_counter() - began, 2)
        return found

    taylor = history[-1][1]
    scores = {
        "taylor": taylor,
        "energy": timed("energy", head_energy),
        "conductance": timed("conductance", head_conductance, x[:FEWER], y[:FEWER]),
    }
    scores["distance"], scores["entropy"] = timed("distance and entropy", attention_traits, x[:FEWER])
    effects = {of: timed(of, head_effects, x, y, of) for of in ("update", "head")}
    curve = timed("deletion", head_deletion, x, y, taylor, "update", POINTS)
    rho: dict[str, float | None] = {}
    sizes: dict[str, float | None] = {}
    for of, found in effects.items():
        changes = summed(found.loss)
        for name, one in scores.items():
            values, causes = _together(summed(one.values), changes)
            for table, against in ((rho, causes), (sizes, np.abs(causes))):
                value = rank_correlation(values, against)[0]
                table[f"{name}/{of}"] = round(value, 4) if np.isfinite(value) else None
    own = spec.method if spec.method.name == "heart_lora" else make_method("heart_lora")
    steps = over_steps(history, own)
    last = int(steps["step"].iloc[-1])
    shares = {"settled": settled(steps) / last, "ranked": settled(steps, "rho", RANKED) / last}
    return {
        **rho, "heads": int(np.isfinite(summed(taylor.values)).sum()), "sizes": sizes, "areas": _areas(curve),
        **{name: round(share, 4) for name, share in shares.items()},
        "records": len(steps), "steps": last, "images": len(x), "before": list(effects["update"].before),
        "seconds": seconds,
    }  # fmt: skip


def _together(scores: np.ndarray, changes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both over the layers that both have: scores of updates end at the last layer that has one."""
    layers = min(len(scores), len(changes))
    return scores[:layers], changes[:layers]


def _areas(curve: Any) -> dict[str, dict[str, list[float]]]:
    """The mean height of each deletion curve, by metric and order; a number for each draw."""
    return {
        metric: {order: [
            round(float(np.trapezoid(one[metric], one["off"]) / np.ptp(one["off"])), 4)
            for _, one in curve[curve["order"] == order].groupby("draw")
        ] for order in ORDERS}
        for metric in ("loss", "accuracy")
    }  # fmt: skip
