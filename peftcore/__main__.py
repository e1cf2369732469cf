"""The command line: `python -m peftcore`. Tables and progress for people, --json for machines."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from . import conditions, embedded, errors
from .answers import JSON, answer, console
from .bench import app as bench
from .options import choices, make_spec, spec_options
from .registry import METHODS, TASKS
from .spec import RunSpec
from .variations import differences, variations

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
@spec_options
def run(
    json: JSON = False,
    save: Annotated[str | None, typer.Option(help="Folder for the trained adapter.")] = None,
    *,
    fields=None,
) -> None:
    """Fine-tune once, in this process, and print the result."""
    from . import events as ev
    from .adapters import save_adapter, writable
    from .train import finetune

    spec = make_spec(fields)
    if save:
        writable(save)  # a folder that cannot be written is told before the training, not after it
    with _progress(json) as progress:
        bar = progress.add_task("loading", total=None, say="")
        stream = finetune(spec)
        last: Any = None
        started: Any = None
        while True:
            try:
                event = next(stream)
            except StopIteration as end:
                model = end.value
                break
            match event:
                case ev.Started():
                    started = event
                case ev.Progress():
                    progress.update(bar, description=event.what, completed=event.done, total=event.total, say="")
                case ev.Download():
                    progress.update(bar, **_downloading(event))
                case ev.Step():
                    progress.update(
                        bar,
                        description=f"epoch {event.epoch} of {spec.epochs}",
                        completed=event.step,
                        total=started.steps,
                        say=f"loss {event.loss:.3f}, {event.images_per_second:,.0f} images/s",
                    )
            last = event
    if save:
        save_adapter(save, model, spec, started.classes)
    counts = model.parameter_counts()  # at the end: a method may have switched something off
    told = conditions.of_run(spec.to_dict(), started.to_dict())
    told = conditions.with_epoch(spec.to_dict(), told, last.selected_epoch)
    result = {
        "spec": spec.to_dict(),
        "conditions": told,
        "parameters": counts,
        "test_accuracy": last.test_accuracy,
        "val_accuracy": last.val_accuracy,
        "selected_epoch": last.selected_epoch,
        "seconds": last.seconds,
        "memory": last.memory,
        "epochs": last.epochs,
        "settings": started.settings,
        "adapter": save,
    }
    rows = [
        {
            "method": spec.method.name,
            "task": spec.task,
            "test accuracy": f"{last.test_accuracy:.3f}",
            "val accuracy": f"{last.val_accuracy:.3f}",
            "trained": f"{counts['method']:,} + {counts['head']:,} (head)",
            "peak memory": f"{last.memory['peak'] / 1e6:,.1f} MB",
            "seconds": f"{last.seconds:.1f}",
            "seed": spec.seed,
        }
    ]
    answer(json, result, f"{spec.method.card.title} on {spec.task}, {spec.backbone}: {told}", rows)


@app.command()
@spec_options
def race(
    vary: Annotated[
        list[str],
        typer.Option(
            help="NAME=V1,V2,...: a setting of the method or a field of the recipe; may be repeated. A list is written "
            "with plus signs, as in projections=q+v,q, or as JSON."
        ),
    ],
    json: JSON = False,
    *,
    fields=None,
) -> None:
    """Fine-tune variations and rank them; side methods share the frozen features."""
    from . import events as ev
    from .racing import race_events

    several = choices(vary)
    base = make_spec(fields)
    specs = variations(base, several)
    names = [", ".join(f"{n} {v}" for n, v in told.items()) or base.method.name for told in _told(specs)]
    steps, last = [0] * len(specs), dict[int, Any]()
    with _progress(json) as progress:
        bars = [progress.add_task(name, total=None, say="waits") for name in names]
        for i, event in race_events(specs):
            match event:
                case ev.Started():
                    steps[i] = event.steps
                case ev.Download():
                    progress.update(bars[i], **_downloading(event) | {"description": names[i]})
                case ev.Progress():
                    progress.update(bars[i], completed=event.done, total=event.total, say=event.what)
                case ev.Step():
                    progress.update(bars[i], completed=event.step, total=steps[i], say=f"loss {event.loss:.3f}")
                case ev.Finished():
                    progress.update(bars[i], say=f"test accuracy {event.test_accuracy:.3f}")
                case ev.Failed():
                    progress.update(bars[i], say="failed")
            last[i] = event
    order = sorted(last, key=lambda i: -getattr(last[i], "test_accuracy", -1.0))
    answers: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for i in order:
        end = last[i]
        if isinstance(end, ev.Failed):
            answers.append({"spec": specs[i].to_dict(), "error": end.error, "message": end.message})
            result = {"test accuracy": "failed", "val accuracy": "", "seconds": "", "why": end.message}
        else:
            numbers = {name: getattr(end, name) for name in ("test_accuracy", "val_accuracy", "seconds")}
            told = {"conditions": conditions.words(specs[i].to_dict()), "selected_epoch": end.selected_epoch}
            answers.append({"spec": specs[i].to_dict(), **numbers, **told})
            told = zip(("test accuracy", "val accuracy", "seconds"), numbers.values(), (3, 3, 1), strict=True)
            result = {title: f"{value:.{digits}f}" for title, value, digits in told}
        rows.append({**{name: _setting(specs[i], name) for name in several}, **result})
    titles = ", ".join(dict.fromkeys(spec.method.card.title for spec in specs))
    same = conditions.in_common([spec.to_dict() for spec in specs])
    answer(json, answers, f"{titles} on {base.task}, {base.backbone}: {same}", rows)


def _downloading(event: Any) -> dict[str, Any]:
    """How a bar shows a download."""
    say = f"{event.done / 1e6:,.1f} MB, {event.speed / 1e6:,.1f} MB/s"
    return {"description": f"downloading {event.what}", "completed": event.done, "total": event.total, "say": say}


def _told(specs: list[RunSpec]) -> list[dict[str, Any]]:
    return differences([spec.to_dict() for spec in specs])


def _setting(spec: RunSpec, name: str) -> Any:
    return spec.method.name if name == "method" else {**spec.method.settings(), **spec.to_dict()}[name]


def _progress(json: bool) -> Progress:
    """Bars on standard error; none for machines that do not look at it."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[say]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=json, disable=json and not sys.stderr.isatty())


@app.command()
@spec_options
def predict(
    json: JSON = False,
    image_size: Annotated[int | None, typer.Option(help="Pixels; the backbone's own where not given.")] = None,
    *,
    fields=None,
) -> None:
    """Predict the memory of one training step, without weights, data or a GPU."""
    from .memory import predict_memory

    spec = make_spec(fields)
    report = predict_memory(spec, image_size=image_size)
    rows = [
        {"component": name.replace("_", " "), "MB": f"{size / 1e6:,.2f}"} for name, size in report.components.items()
    ]
    rows.append({"component": "peak", "MB": f"{report.peak / 1e6:,.2f}"})
    answer(
        json,
        {"spec": spec.to_dict(), **report.to_dict()},
        f"{spec.method.card.title} on {spec.backbone}, batch {spec.batch_size}",
        rows,
    )


@app.command()
def heads(
    source: Annotated[
        str, typer.Argument(help="A saved adapter's folder, a Hugging Face PEFT adapter, or a PETL-ViT .bin file.")
    ],
    scale: Annotated[float | None, typer.Option(help="The scale of a PETL-ViT file.")] = None,
    json: JSON = False,
) -> None:
    """How strongly an adapter moves each attention head: the norm of dW_h by layer, projection and head."""
    from .probes.responsiveness import head_energy

    scores = head_energy(source, scale)
    rows = [
        {"layer": layer, "projection": p, **{f"head {h + 1}": f"{v:.4f}" for h, v in enumerate(scores.values[i, j])}}
        for i, layer in enumerate(scores.layers)
        for j, p in enumerate(scores.projections)
    ]
    answer(json, scores.to_dict(), f"||dW|| by head: {source}", rows)


@app.command()
def methods(json: JSON = False) -> None:
    """List the PEFT methods."""
    rows = []
    for name in METHODS.names():
        method = METHODS.load(name).METHOD
        settings = {n: f.get_default(call_default_factory=True) for n, f in method.model_fields.items()}
        rows.append(
            {
                "name": name,
                "title": method.card.title,
                "kind": method.kind,
                "trains": method.card.trains,
                "settings": settings,
            }
        )
    shown = [{**row, "settings": ", ".join(f"{k}={v}" for k, v in row["settings"].items())} for row in rows]
    answer(json, rows, "Methods", shown)


@app.command()
def tasks(json: JSON = False) -> None:
    """List the tasks."""
    from .tasks import task_card

    cards = [task_card(name) for name in TASKS.names()]
    rows = [
        {
            "name": c.shown,
            "title": c.title,
            "group": c.group,
            "classes": len(c.classes) or None,
            "description": c.description,
        }
        for c in cards
    ]
    answer(json, rows, "Tasks", rows)


@app.command()
def backbones(
    contains: Annotated[str, typer.Argument(help="Only names with this in them.")] = "", json: JSON = False
) -> None:
    """List the backbones: embedded, then curated with their sizes and licences; give part of a name to search all of timm."""
    from .backbone import backbones as names
    from .curated import CURATED

    every = names()
    found = [name for name in every if contains.lower() in name]
    if not found:
        raise errors.unknown("backbone whose name contains", contains, every, most=5)
    told = [_told_backbone(name) for name in found]
    detailed = len(embedded.names()) + len(CURATED)
    shown = told if contains else told[:detailed]
    rows = [
        {
            "name": one["name"],
            "params": f"{one['parameters'] / 1e6:,.1f} M" if one["parameters"] else "",
            "MB fp32": f"{one['bytes'] / 1e6:,.0f}" if one["parameters"] else "",
            "licence": one["licence"] or "",
            "cached": {True: "yes", False: "no", None: ""}[one["here"]],
        }
        for one in shown
    ]
    more = "" if contains else f"; {len(every) - detailed} more of timm: give part of a name"
    answer(json, told, f"Backbones{more}", rows)


def _told_backbone(name: str) -> dict[str, Any]:
    """What is known of a backbone without building it; `here`: whether pretrained weights are, None if there are none."""
    from timm.models import get_pretrained_cfg

    from . import weights
    from .curated import CURATED

    known = dict.fromkeys(("title", "parameters", "bytes", "licence", "trained_on", "here"))
    if name in embedded.names():
        card = embedded.card(name)
        count = card["training"]["parameters"]
        known |= {"parameters": count, "bytes": 4 * count, "trained_on": "pictures that Headroom draws", "here": True}
        known |= {"title": card["title"]}
    elif one := CURATED.get(name):
        known |= {key: getattr(one, key) for key in known if key != "here"} | {"here": weights.here(name)}
    elif config := get_pretrained_cfg(name):
        known |= {"licence": config.license, "here": weights.here(name) if config.has_weights else None}
    return {"name": name, **known}


@app.command()
def fetch(
    names: Annotated[
        list[str],
        typer.Argument(help="Backbones of timm, with or without their tag; data sets such as torchvision:DTD."),
    ],
    json: JSON = False,
) -> None:
    """Download pretrained weights into the folder of HEADROOM_WEIGHTS, or data sets, for machines without a network."""
    from . import tasks
    from .download import fetch as download

    rows = []
    with _progress(json) as progress:
        for name in names:
            bar = progress.add_task(name, total=None, say="")

            def tell(done: int, total: int | None, bar=bar) -> None:
                progress.update(bar, completed=done, total=total, say=f"{done / 1e6:,.0f} MB")

            is_task = name.partition(":")[0] in TASKS.names()
            place = tasks.fetch(name, tell) if is_task else download(name, tell=tell)
            files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
            rows.append({"name": name, "file": str(place), "bytes": sum(file.stat().st_size for file in files)})
            progress.update(bar, completed=1, total=1, say="is here")
    answer(json, rows, "Fetched", [{**row, "bytes": f"{row['bytes']:,}"} for row in rows])


@app.command()
def cache(clear: Annotated[bool, typer.Option("--clear", help="Remove them all.")] = False, json: JSON = False) -> None:
    """List the frozen features that are kept on disk, or remove them."""
    from .shelf import Shelf

    shelf = Shelf()
    entries = shelf.entries()
    if clear:
        freed = shelf.clear()
        answer(json, {"freed": freed}, str(shelf.folder), [{"freed": f"{freed / 1e6:,.1f} MB"}])
        return
    told = [{"file": str(e.path), "bytes": e.bytes, "used": e.used, "made_of": e.about} for e in entries]
    rows = [
        {
            "backbone": e.about.get("architecture", ["not readable"])[0],
            "tap": e.about.get("tap", ""),
            "images": f"{e.about['images'][1][0]:,}" if e.about else "",
            "kept": e.about.get("kept", ""),
            "MB": f"{e.bytes / 1e6:,.1f}",
            "last used": time.strftime("%Y-%m-%d %H:%M", time.localtime(e.used)),
        }
        for e in entries
    ]
    total = sum(e.bytes for e in entries)
    answer(json, told, f"{shelf.folder}: {total / 1e6:,.1f} MB of {shelf.limit / 1e6:,.0f} MB", rows)


app.add_typer(bench, name="bench")


def main() -> None:
    """Errors of ours are one sentence on standard error and exit status 1."""
    try:
        app(standalone_mode=True)
    except errors.HeadroomError as error:
        console.print(f"[bold red]{type(error).__name__}[/]: {escape(str(error))}", highlight=False, soft_wrap=True)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        console.print("Stopped.")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
