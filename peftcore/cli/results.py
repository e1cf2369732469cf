"""Commands that read what runs of the store answered on their test images."""

from __future__ import annotations

from typing import Annotated

import typer

from peftcore import errors
from peftcore.cli.output import JSON, answer, progress_bars
from peftcore.figures.method_style import method_title
from peftcore.figures.words import human_count, p_alone, si_bytes
from peftcore.store import Store
from peftcore.store import comparison as compared
from peftcore.store import leaderboard as boards
from peftcore.store import results as kept
from peftcore.store.again import predict_again


def results(
    run: Annotated[int, typer.Argument(help="The run's number in the store.")],
    again: Annotated[bool, typer.Option("--again", help="Predict anew from the saved adapter, and keep that.")] = False,
    json: JSON = False,
) -> None:
    """What a run got right and wrong on its test images: by class, with intervals, and how well it knew."""
    store = Store()
    if again:
        with progress_bars(json) as progress:
            bar = progress.add_task("predicting", total=None, say="")
            for done, total in predict_again(store, run):
                progress.update(bar, completed=done, total=total)
    found = kept.results(run, store)
    low, high = found.interval
    rows = [
        {
            "class": row["class"],
            "images": row["images"],
            "recall": f"{row['recall']:.3f} ({row['low']:.2f} to {row['high']:.2f})",
            "precision": f"{row['precision']:.3f}",
            "predicted": row["predicted"],
        }
        for row in found.per_class.to_dict("records")
    ]
    title = f"Run {run} on {found.task}: {found.accuracy:.3f} ({low:.2f} to {high:.2f}) of {len(found)} test images, "
    answer(json, found.to_dict(), f"{title}calibration error {found.calibration().ece:.3f}", rows)


def compare(
    runs: Annotated[list[int], typer.Argument(help="Numbers of two runs or more, tested on the same images.")],
    json: JSON = False,
) -> None:
    """Whether runs make different mistakes: disagreement, McNemar's test for each pair, and the accuracy of a vote."""
    if len(set(runs)) != len(runs):
        raise errors.InvalidSetting("A run is compared with other runs; name each once.")
    store = Store()
    found = compared.comparison([kept.results(run, store) for run in runs])
    value, rows = found.to_dict(), []
    for pair in value["pairs"]:
        i, j = runs.index(pair["first"]), runs.index(pair["second"])
        rows.append(
            {
                "runs": f"{pair['first']} and {pair['second']}",
                "disagree on": f"{found.disagreement[i, j]:.3f}",
                "only the first right": pair["only_first"],
                "only the second right": pair["only_second"],
                "neither": pair["neither"],
                "p (McNemar, exact)": p_alone(pair["p"]),
            }
        )
    alone = ", ".join(f"run {run} {share:.3f}" for run, share in zip(runs, value["accuracy"], strict=True))
    answer(json, value, f"{value['images']} test images: {alone}, their vote {found.vote:.3f}", rows)


def leaderboard(
    task: Annotated[str, typer.Argument(help="The task by name, such as digits.")],
    every: Annotated[bool, typer.Option("--all", help="Every setting, not only the best of each method.")] = False,
    json: JSON = False,
) -> None:
    """Which method is best on a task: finished and recorded runs, ranked by validation accuracy, test beside it."""
    found = boards.leaderboard(task)
    rows = []
    for place, one in enumerate(found.standings if every else found.best, 1):
        sure = "" if one.interval is None else f" ({one.interval[0]:.2f} to {one.interval[1]:.2f})"
        spread = "" if one.test_spread is None else f" ± {one.test_spread:.3f}"
        rows.append(
            {
                "place": place,
                "method": method_title(one.method) + (", recorded" if one.recorded else ""),
                "settings": ", ".join(f"{name}={value}" for name, value in one.differs.items()),
                "backbone": one.spec["backbone"],
                "seeds": len(one.seeds),
                "validation": "" if one.val_accuracy is None else f"{one.val_accuracy:.3f}",
                "test (95 %)": f"{one.test_accuracy:.3f}{spread}{sure}",
                "trained": "" if one.parameters is None else human_count(one.parameters),
                "peak": "" if one.memory is None else si_bytes(one.memory),
                "stored": "" if one.stored is None else si_bytes(one.stored),
                "seconds": "" if one.seconds is None else f"{one.seconds:.1f}",
                "runs": ", ".join(run.code for run in one.runs),
            }
        )
    order = "best by validation first" if found.validated else "but this task trains on its validation images"
    answer(json, found.to_dict(best=not every), f"{task}: {'all settings' if every else 'each method'}, {order}", rows)
