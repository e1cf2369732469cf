"""One HTML file about a run, with live figures, that opens without a network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from peftcore import errors
from peftcore.cli.exports import script
from peftcore.cli.exports._source import Source
from peftcore.cli.exports.events import rows
from peftcore.figures.method_style import method_title
from peftcore.figures.words import human_count, percent, si_bytes
from peftcore.registry import METHODS
from peftcore.store import conditions
from peftcore.store.trained import trained

TITLE = "Report as one HTML file"
PURPOSE = (
    "To send, print or keep: the result with its interval, the settings and live figures; opens without a network."
)
MAKES = "file"
STYLE = """
body { font: 16px/1.5 "Source Sans 3", system-ui, "Segoe UI", Helvetica, Arial, sans-serif; color: #1f2933;
       max-width: 1000px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.7rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin-top: 2rem }
table { border-collapse: collapse } td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top }
.numbers { display: flex; flex-wrap: wrap; gap: 2.5rem; margin: 1.2rem 0 }
.numbers b { display: block; font-size: 1.8rem; font-weight: 600; line-height: 1.2 }
.small, figcaption { color: #5b6875; font-size: .9rem } figure { margin: 1rem 0; overflow-x: auto }
pre { background: #f4f5f7; padding: .8rem; overflow-x: auto; font-size: .85rem }
"""


def why_not(source: Source) -> str | None:
    return source.no_events


def write(source: Source, folder: Path) -> Path:
    import plotly.io
    from plotly.offline import get_plotlyjs

    drawn = []
    for caption, figure in figures(source):
        if isinstance(figure, str):
            drawn.append(f"<p class=small>{escape(figure)}</p>")
            continue
        html = plotly.io.to_html(figure, full_html=False, include_plotlyjs=False, config={"displaylogo": False})
        drawn.append(f"<figure>{html}<figcaption>{escape(caption)}</figcaption></figure>")
    settings = source.settings or {}
    title = f"{source.name.replace('-', ' ').capitalize()}: {_title(settings)}"
    parts = [
        "<!DOCTYPE html><html lang=en><head><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f"<script>{get_plotlyjs()}</script></head><body><h1>{escape(title)}</h1>",
        f"<p class=small>{escape(_when(source))}</p>",
        _result(source),
        "<h2>What happened in training</h2>",
        *drawn,
        "<h2>Settings</h2>",
        _table({name: value for name, value in settings.items() if name != "method"} | _of_method(settings)),
        "<h2>Make it again</h2>",
        f"<pre>{escape(_again(source))}</pre>",
        "<h2>The spec as JSON</h2>",
        f"<pre>{escape(json.dumps(settings, indent=2))}</pre>",
        "</body></html>",
    ]
    path = folder / f"{source.name}-report.html"
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def _title(settings: dict[str, Any]) -> str:
    random = "" if settings.get("pretrained", True) or settings.get("weights") else ", random weights"
    return f"{method_title(settings['method']['name'])} on {settings['task']}, {settings['backbone']}{random}"


def _when(source: Source) -> str:
    record = source.record
    assert record is not None, "a report is of a run"
    at = datetime.fromtimestamp(record.finished or record.created, UTC)
    return f"{record.status}, {at:%-d %B %Y, %H:%M} UTC. Written by Headroom."


def _result(source: Source) -> str:
    from peftcore.figures.accuracy import Ground

    settings, started, summary = source.settings or {}, source.started, source.summary
    assert started is not None, "why_not has looked"
    if "test_accuracy" not in summary:
        record = source.record
        assert record is not None, "why_not has looked"
        if record.status == "finished":  # a challenge seals it
            return "<p><b>The test accuracy is kept until the teacher reveals it.</b></p>"
        return f"<p><b>No result: the run is {escape(record.status)}.</b> {escape(record.error or '')}</p>"
    ground, val = Ground.of(started, "test"), Ground.of(started, "val")
    accuracy, cut = summary["test_accuracy"], next(iter(source.events("heads_cut")[-1:]), None)
    count, of = trained(started, cut), started["parameters"]["backbone"]
    sure = f"95 %: {ground.text(accuracy)} (Wilson, {ground.images:,} images)" if ground.images else ""
    words = conditions.with_epoch(settings, conditions.of_run(settings, started), summary.get("selected_epoch"))
    numbers = [
        ("Test accuracy", f"{accuracy:.3f}", sure or f"chance {ground.chance:.3f}"),
        ("Validation accuracy", f"{summary['val_accuracy']:.3f}", f"95 %: {val.text(summary['val_accuracy'])}"),
        (
            "Trained weights",
            human_count(count),
            f"{percent(count / of)} of the backbone's",
        ),
        ("Peak memory", si_bytes(summary["memory"].get("peak", 0)), "of one training step"),
        ("Duration", f"{summary['seconds']:.1f} s", f"on {started['device']}"),
    ]
    boxes = "".join(
        f"<div>{escape(what)}<b>{escape(value)}</b><span class=small>{escape(more)}</span></div>"
        for what, value, more in numbers
    )
    chance = f"Chance is {ground.chance:.3f}." if not ground.at_chance(accuracy) else f"{ground.stayed(accuracy)}."
    about = f"{words[0].upper()}{words[1:]}. {chance} The test images chose nothing."
    return f"<div class=numbers>{boxes}</div><p>{escape(about)}</p>"


def figures(source: Source) -> Iterator[tuple[str, Any]]:
    """(caption, figure) of everything that this run has to show; a sentence in the figure's place where one cannot be
    drawn any more."""
    import pandas as pd

    from peftcore.figures import curves, masks, memory_curves
    from peftcore.figures.accuracy import Ground

    settings, started = source.settings or {}, source.started
    assert started is not None, "why_not has looked"
    events, total, method = rows(source), started["steps"], settings["method"]["name"]
    steps = pd.DataFrame(
        [{"memory": None, **row} for row in events if row["kind"] == "step"],
        columns=["step", "epoch", "loss", "lr", "grad_norm", "images_per_second", "seconds", "memory"],
    )
    evaluations = pd.DataFrame(
        [row for row in events if row["kind"] == "evaluation"], columns=["step", "split", "accuracy", "loss"]
    )
    cut = next(iter(source.events("heads_cut")[-1:]), None)
    loss = curves.loss_curve(
        steps, evaluations, total, method=method, kind=started["method_kind"], ground=Ground.of(started, "test")
    )
    if cut:
        masks.mark_steps(loss, {cut["step"]: "heads switched off"})
    yield "Training loss, and accuracy on the validation and test images.", loss
    yield "The learning rate at each step.", curves.learning_rate_curve(steps, total, peak=settings["lr"])
    yield "The norm of the gradient at each step, before any clipping.", curves.gradient_norm(steps, total)
    yield "Memory at the peak of each traced step; MB are powers of ten.", memory_curves.memory_over_steps(steps, total)
    if within := source.events("step_memory"):
        figure = memory_curves.step_memory(within[-1]["report"]["curve"])
        yield "Memory through one training step, operator by operator.", figure
    yield from _answers(source)
    if source.no_model:
        return
    try:
        if METHODS.facts(method).shows == "heads":
            yield from _heads(source)
        elif METHODS.facts(method).shows == "attention":
            yield from _attention(source)
    except errors.HeadroomError as error:
        yield "", f"Heads and attention are not drawn: {error}"


def _answers(source: Source) -> Iterator[tuple[str, Any]]:
    """What it got right and wrong on the test images, where its predictions were kept."""
    from peftcore.figures import confusion
    from peftcore.figures import results as drawn

    found = source.answers
    if found is None:
        return
    counts, bins = found.per_class, found.calibration()
    yield "Test images by label and prediction.", confusion.confusion(found.confusion, found.classes)
    columns = (counts[name].to_numpy() for name in ("recall", "low", "high", "images"))
    yield (
        "The share of each class's test images that is classified correctly, with 95 % intervals.",
        drawn.by_class(found.classes, *columns, overall=found.accuracy),
    )
    yield (
        "Accuracy by confidence in ten bins; on the diagonal a run knows how good it is.",
        drawn.reliability(bins.edges, bins.images, bins.confidence, bins.accuracy, bins.ece),
    )


def _heads(source: Source) -> Iterator[tuple[str, Any]]:
    from peftcore.figures.heads import head_grid
    from peftcore.probes.responsiveness import head_energy

    scores = head_energy(source.model)
    for number, projection in enumerate(scores.projections):
        mask = None if scores.mask is None else scores.mask[:, number]
        figure = head_grid(
            scores.values[:, number], list(scores.layers), score="energy", projection=projection, mask=mask, note=""
        )
        yield (
            f"How far training moved each head: the norm of its update of {projection}, from the weights alone.",
            figure,
        )


def _attention(source: Source) -> Iterator[tuple[str, Any]]:
    from peftcore.backbone.preprocess import prepare
    from peftcore.figures.attention import attention_overlay
    from peftcore.probes.attention import side_attention
    from peftcore.task import load_task

    model, spec = source.model, source.spec
    task, backbone = load_task(spec.task), model.backbone
    image = np.asarray(task.test.images[0:1])
    maps = side_attention(model, prepare(image, backbone, spec.normalisation, resize=spec.resize))
    module = len(maps) - 1
    grid, prefix = backbone.blocks[model.tuner.attended[module]].grid, backbone.prefix_tokens
    rows_of = maps[module][0].mean(0)[prefix:].reshape(grid)  # over all queries
    figure = attention_overlay(image[0], rows_of.numpy(), width=360)
    label = task.classes[int(task.test.labels[0])]
    yield (
        f"Where the side network's last module ({module + 1} of {len(maps)}) looks, mean over all queries: test "
        f"image 0, class {label}.",
        figure,
    )


def _of_method(settings: dict[str, Any]) -> dict[str, Any]:
    method = settings["method"]
    return {"method": method["name"]} | {f"method: {name}": v for name, v in method.items() if name != "name"}


def _table(values: dict[str, Any]) -> str:
    cells = "".join(f"<tr><td>{escape(n)}</td><td>{escape(json.dumps(v))}</td></tr>" for n, v in values.items())
    return f"<table>{cells}</table>"


def _again(source: Source) -> str:
    try:
        return f"import peftcore as pc\n\n{script.specification(source.spec)}\nresult = pc.run(spec)"
    except errors.HeadroomError as error:  # of a run that this version would not begin any more
        return str(error)
