"""Do head scores mean anything? How each ranks heads beside what switching them off does, on the embedded tasks."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import numpy as np
import typer

from peftcore.bench._accuracies import spread
from peftcore.bench.tasks import MINI_VTAB
from peftcore.cli.output import JSON, answer, console, names_of
from peftcore.figures.effects import gain, rank_correlation
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import Store, recipes

# Columns of the table: Spearman's rho of a score with the change of the loss, by what was switched off.
RHOS = ("taylor/update", "energy/update", "conductance/update", "taylor/head", "energy/head", "conductance/head")


def specs(tasks: Sequence[str], seeds: int, method: str, backbone: str, epochs: int) -> list[RunSpec]:
    """Every run of the table, one seed after the other, at the best known recipe of its method."""
    made = [
        RunSpec(backbone=backbone, method=method, task=task, epochs=epochs, seed=seed)
        for seed in range(seeds)
        for task in tasks
    ]
    return [recipes.with_its_own(spec) for spec in made]


def measure(
    wanted: Iterable[RunSpec], images: int, log: Path | None = None, runs: Sequence[int] = ()
) -> Iterator[dict[str, Any]]:
    """One row for each spec, or for each of the store's runs: task, seed, test_accuracy, each of RHOS, area_loss and
    area_accuracy (by how much switching off the least responsive heads first beats random order, a mean over their
    number; above zero is better), settled (the share of the scored steps after which the cut is what it is at the end)
    and seconds of each probe.

    A row that is in the log is read, and a new one is added to it.
    """
    known = {}
    if log is not None and log.exists():
        known = {row["key"]: row for row in map(json.loads, filter(str.strip, log.read_text().splitlines()))}
    store = Store() if runs else None
    for spec, run in [*((spec, None) for spec in wanted)] if not runs else [
        (RunSpec.of(store.run(run).spec), run) for run in runs if store is not None
    ]:  # fmt: skip
        key = f"{spec.key}/{images}"
        if key not in known:
            history, blob, accuracy = _trained(spec) if run is None or store is None else _kept(store, run)
            known[key] = {"key": key, **_about(spec), "test_accuracy": accuracy, **_probed(spec, history, blob, images)}
            if log is not None:
                log.parent.mkdir(parents=True, exist_ok=True)
                with log.open("a") as file:
                    file.write(json.dumps(known[key]) + "\n")
        yield known[key]


def _about(spec: RunSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in ("backbone", "task", "seed", "epochs")} | {"method": spec.method.name}


def _trained(spec: RunSpec) -> tuple[list[tuple[int, Any]], bytes, float]:
    """The scores by step, the adapter and the test accuracy of a run that is made now."""
    from peftcore.events import Finished, Scores
    from peftcore.methods._scores import HeadScores
    from peftcore.train.loop import finetune

    history, last = [], None
    for event in finetune(spec):
        if isinstance(event, Scores):
            history.append((event.step, HeadScores.from_dict(event.scores)))
        last = event
    assert isinstance(last, Finished) and last.blob is not None, "a run ends with its adapter"
    return history, last.blob, last.test_accuracy


def _kept(store: Store, run: int) -> tuple[list[tuple[int, Any]], bytes, float]:
    """The same of a run of the store."""
    from peftcore import errors
    from peftcore.methods._scores import HeadScores

    blob, events = store.get_artifact(run, "adapter"), store.events(run, kinds="scores")
    if blob is None or not events:
        raise errors.NotMeasurable(f"Run {run} has no {'adapter' if blob is None else 'head scores'} to measure.")
    history = [(event["step"], HeadScores.from_dict(event["scores"])) for event in events]
    return history, blob, float(store.run(run).summary["test_accuracy"])


def _probed(spec: RunSpec, history: list[tuple[int, Any]], blob: bytes, images: int) -> dict[str, Any]:
    import torch

    from peftcore.adapters import from_bytes
    from peftcore.backbone.preprocess import prepare
    from peftcore.bench._deletion import head_deletion
    from peftcore.bench._opinions import head_conductance
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
        "energy": head_energy(model),
        "conductance": timed("conductance", head_conductance, x, y),
    }
    effects = {of: timed(of, head_effects, x, y, of) for of in ("update", "head")}
    curve = timed("deletion", head_deletion, x, y, taylor)
    counts = np.unique(curve["off"])

    def mean(order: str, metric: str) -> np.ndarray:
        own = curve[curve["order"] == order].groupby("off")[metric].mean()
        return np.interp(counts, own.index.to_numpy(float), own.to_numpy())

    areas = {
        f"area_{metric}": (1 if metric == "loss" else -1) * gain(counts, mean("least", metric), mean("random", metric))
        for metric in ("loss", "accuracy")
    }
    own = spec.method if spec.method.name == "heart_lora" else make_method("heart_lora")
    table = over_steps(history, own)
    rho = {}
    for of, found in effects.items():
        changes = summed(found.loss)
        for name, one in scores.items():
            values = summed(one.values)
            rows = min(len(values), len(changes))
            rho[f"{name}/{of}"] = rank_correlation(values[:rows], changes[:rows])[0]
    share = settled(table) / int(table["step"].iloc[-1])
    return {**rho, **areas, "settled": share, "records": len(table), "images": len(x), "seconds": seconds}


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """By task, mean and standard deviation over seeds; last the mean over tasks."""
    tasks, lines = list(dict.fromkeys(row["task"] for row in rows)), []
    for task in [*tasks, ""]:
        own = [row for row in rows if row["task"] == task or not task]
        names = (*RHOS, "area_loss", "area_accuracy", "settled")
        means = {name: [row[name] for row in own if row[name] is not None and np.isfinite(row[name])] for name in names}
        lines.append(
            {
                "task": task or "all",
                "seeds": str(len({row["seed"] for row in own})),
                **{f"rho {name}": _two(means[name]) for name in RHOS},
                "area, nats": _two(means["area_loss"]),
                "area, points": spread([100 * value for value in means["area_accuracy"]]),
                "settled after, %": spread([100 * value for value in means["settled"]]),
            }
        )
    return lines


def _two(values: Sequence[float]) -> str:
    if not values:
        return "–"
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


def command(
    tasks: Annotated[str, typer.Option(help="Names, comma-separated; the nine of the mini-VTAB where empty.")] = "",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 3,
    method: Annotated[str, typer.Option(help="A method whose heads are scored.")] = "lora",
    backbone: Annotated[str, typer.Option(help="A backbone by name.")] = "vit_micro",
    epochs: Annotated[int, typer.Option(min=1)] = 8,
    images: Annotated[int, typer.Option(min=3, help="Validation images of each probe, the first ones.")] = 100,
    runs: Annotated[str, typer.Option(help="Numbers of the store's runs, comma-separated, in place of new ones.")] = "",
    log: Annotated[
        str, typer.Option(help="A JSON-lines file: what is in it is not measured again, and new rows are added to it.")
    ] = "",
    json: JSON = False,
) -> None:
    """Head scores beside what switching heads off does, by task over seeds, and how much warm-up a cut needs."""
    METHODS.facts(method)
    numbers = [int(one) for one in names_of(runs)]
    wanted = [] if numbers else specs(tuple(names_of(tasks)) or MINI_VTAB, seeds, method, backbone, epochs)
    rows = []
    for row in measure(wanted, images, Path(log) if log else None, numbers):
        rows.append(row)
        console.print(f"{row['task']}, seed {row['seed']}: taylor and the loss {row['taylor/update']:+.2f}")
    answer(json, rows, "Spearman's rho of head scores with the change of the loss; mean ± deviation", summary(rows))
