"""Do head scores mean anything? How each ranks heads beside what switching them off does, on the embedded tasks."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from peftcore.bench._accuracies import spread
from peftcore.bench._head_probes import FEWER, probed
from peftcore.bench.tasks import MINI_VTAB
from peftcore.cli.output import JSON, answer, console, names_of
from peftcore.registry import METHODS
from peftcore.spec import RunSpec
from peftcore.store import Store, recipes

SCORES = ("taylor", "energy", "conductance", "distance", "entropy")


def specs(tasks: Sequence[str], seeds: int, method: str, backbone: str, epochs: int) -> list[RunSpec]:
    """Every run of the table, one seed after the other: its method as published, at its best known rate."""
    made = [
        RunSpec(backbone=backbone, method=method, task=task, epochs=epochs, seed=seed)
        for seed in range(seeds)
        for task in tasks
    ]
    return [recipes.at_its_rate(spec) for spec in made]


def measure(
    wanted: Iterable[RunSpec], images: int, log: Path | None = None, runs: Sequence[int] = ()
) -> Iterator[dict[str, Any]]:
    """One row for each spec, or for each of the store's runs, over (layer, head), all projections of a head together:

    - "taylor/update" and the like: Spearman's rho of a score with the change of the loss when a head's update (or the
      whole head, "/head") is off; under "sizes" the same with the size of that change, whatever its sign;
    - "areas": the mean height of the deletion curves by loss and accuracy, of each order one number, of random order
      one for each draw;
    - "settled" and "ranked": the share of the scored steps after which the cut is what it is at the end, and after
      which ranks stay within rho 0.95 of those at the end; "records": how many steps were looked at;
    - "seconds" of each probe.

    A row that is in the log is read, unless it is of other weights of the backbone, and a new one is added to it.
    """
    known = {}
    if log is not None and log.exists():
        whole = log.read_text().rpartition("\n")[0].splitlines()  # a line that was cut off is measured again
        known = {row["key"]: row for row in map(json.loads, filter(str.strip, whole))}
    store = Store() if runs else None
    for spec, run in [*((spec, None) for spec in wanted)] if not runs else [
        (RunSpec.of(store.run(run).spec), run) for run in runs if store is not None
    ]:  # fmt: skip
        key = key_of(spec, images)
        if key not in known:
            history, blob, accuracy = _trained(spec) if run is None or store is None else _kept(store, run)
            known[key] = {"key": key, **_about(spec), "test_accuracy": accuracy, **probed(spec, history, blob, images)}
            if log is not None:
                log.parent.mkdir(parents=True, exist_ok=True)
                with log.open("a") as file:
                    file.write(json.dumps(known[key]) + "\n")
        yield known[key]


def key_of(spec: RunSpec, images: int) -> str:
    """What a row of the log is known by: the run, the images of its probes, and the backbone's weights."""
    from peftcore.backbone.load import load_backbone

    return f"{spec.key}/{images}/{load_backbone(spec.backbone).fingerprint[:12]}"


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


def summary(rows: Sequence[dict[str, Any]], of: str = "update") -> list[dict[str, str]]:
    """By task, mean and standard deviation over seeds; last the mean over tasks. `of`: what was switched off.

    Areas are by how much the loss lies below (least responsive first) or above (most responsive first) random order.
    """
    lines = []
    for task in [*dict.fromkeys(row["task"] for row in rows), ""]:
        own = [row for row in rows if row["task"] == task or not task]
        gained = {
            (metric, order): [statistics.mean(a["random"]) - a[order][0] for a in (row["areas"][metric] for row in own)]
            for metric in ("loss", "accuracy")
            for order in ("least", "most")
        }
        lines.append(
            {
                "task": task or "all",
                "seeds": str(len({row["seed"] for row in own})),
                **{name: _two([row[f"{name}/{of}"] for row in own]) for name in SCORES},
                "least first, nats": _two(gained["loss", "least"]),
                "most first, nats": _two(gained["loss", "most"]),
                "least first, points": spread([-100 * value for value in gained["accuracy", "least"]]),
                "cut settled after, %": spread([100 * row["settled"] for row in own]),
                "ranks settled after, %": spread([100 * row["ranked"] for row in own]),
            }
        )
    return lines


def durations(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Seconds of each probe: the middle of all rows, and the fastest."""
    images = rows[0]["images"]
    return [
        {
            "probe": name,
            "images": images if name in ("update", "head", "deletion") else min(FEWER, images),
            "seconds": f"{statistics.median(row['seconds'][name] for row in rows):.1f}",
            "fastest": f"{min(row['seconds'][name] for row in rows):.1f}",
        }
        for name in rows[0]["seconds"]
    ]


def _two(given: Sequence[float | None]) -> str:
    values = [value for value in given if value is not None]
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
        console.print(f"{row['task']}, seed {row['seed']}: taylor and the change of the loss {row['taylor/update']}")
    answer(json, rows, "Spearman's rho of head scores with the change of the loss without each update", summary(rows))
    if rows and not json:
        answer(False, rows, "The same without each head as a whole", summary(rows, "head"))
        answer(False, rows, "Seconds of each probe", durations(rows))
