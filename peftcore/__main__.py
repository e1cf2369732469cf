"""The command line: `python -m peftcore`. Tables and progress for people, --json for machines."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from peftcore import errors
from peftcore.bench import app as bench
from peftcore.cli import catalogue
from peftcore.cli.options import choices, make_spec, spec_options
from peftcore.cli.output import JSON, answer, console, progress_bars
from peftcore.spec import RunSpec
from peftcore.train import conditions, recipes
from peftcore.train.variations import differences, variations

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
    from peftcore import events as ev
    from peftcore.adapters.save import save_adapter, writable
    from peftcore.train.loop import finetune

    spec = make_spec(fields)
    if save:
        writable(save)  # a folder that cannot be written is told before the training, not after it
    with progress_bars(json) as progress:
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
            "test accuracy": f"{last.test_accuracy:.3f}",
            "val accuracy": f"{last.val_accuracy:.3f}",
            "trained": f"{counts['method']:,} + {counts['head']:,} (head)",
            "peak memory": f"{last.memory['peak'] / 1e6:,.1f} MB",
            "seconds": f"{last.seconds:.1f}",
            "seed": spec.seed,
        }
    ]
    answer(json, result, f"{spec.method.card.title} on {spec.task}, {_backbone(spec)}: {told}", rows)


def _backbone(spec: RunSpec) -> str:
    return spec.backbone if spec.pretrained or spec.weights else f"{spec.backbone} with random weights"


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
    from peftcore import events as ev
    from peftcore.train.race import race_events

    several = choices(vary)
    each_its_own = fields["lr"] is None and "lr" not in several
    base = make_spec(fields)
    specs = variations(base, several)
    if each_its_own:
        specs = [recipes.with_its_own(spec) for spec in specs]
    names = [", ".join(f"{n} {v}" for n, v in told.items()) or base.method.name for told in _told(specs)]
    begun: list[Any] = [None] * len(specs)
    last: dict[int, Any] = {}
    with progress_bars(json) as progress:
        bars = [progress.add_task(name, total=None, say="waits") for name in names]
        for i, event in race_events(specs):
            match event:
                case ev.Started():
                    begun[i] = event
                case ev.Download():
                    progress.update(bars[i], **_downloading(event) | {"description": names[i]})
                case ev.Progress():
                    progress.update(bars[i], completed=event.done, total=event.total, say=event.what)
                case ev.Step():
                    progress.update(bars[i], completed=event.step, total=begun[i].steps, say=f"loss {event.loss:.3f}")
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
            told = conditions.of_run(specs[i].to_dict(), begun[i].to_dict())
            told = conditions.with_epoch(specs[i].to_dict(), told, end.selected_epoch)
            told = {"conditions": told, "selected_epoch": end.selected_epoch}
            answers.append({"spec": specs[i].to_dict(), **numbers, **told})
            told = zip(("test accuracy", "val accuracy", "seconds"), numbers.values(), (3, 3, 1), strict=True)
            result = {title: f"{value:.{digits}f}" for title, value, digits in told}
        rows.append({**{name: _setting(specs[i], name) for name in several}, **result})
    titles = ", ".join(dict.fromkeys(spec.method.card.title for spec in specs))
    same = conditions.in_common(
        [spec.to_dict() for spec in specs], [event.to_dict() if event else None for event in begun]
    )
    answer(json, answers, f"{titles} on {base.task}, {_backbone(base)}: {same}", rows)


def _downloading(event: Any) -> dict[str, Any]:
    """How a bar shows a download."""
    say = f"{event.done / 1e6:,.1f} MB, {event.speed / 1e6:,.1f} MB/s"
    return {"description": f"downloading {event.what}", "completed": event.done, "total": event.total, "say": say}


def _told(specs: list[RunSpec]) -> list[dict[str, Any]]:
    return differences([spec.to_dict() for spec in specs])


def _setting(spec: RunSpec, name: str) -> Any:
    return spec.method.name if name == "method" else {**spec.method.settings(), **spec.to_dict()}[name]


@app.command()
@spec_options
def predict(
    json: JSON = False,
    image_size: Annotated[int | None, typer.Option(help="Pixels; the backbone's own where not given.")] = None,
    *,
    fields=None,
) -> None:
    """Predict the memory of one training step, without weights, data or a GPU."""
    from peftcore.memory import predict_memory

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
    backbone: Annotated[str | None, typer.Option(help="The backbone of an adapter that does not name its own.")] = None,
    per_block: Annotated[int | None, typer.Option("--heads", help="Or how many heads each of its blocks has.")] = None,
    scale: Annotated[float | None, typer.Option(help="The scale of a PETL-ViT file.")] = None,
    json: JSON = False,
) -> None:
    """How strongly an adapter moves each attention head: the norm of dW_h by layer, projection and head."""
    from peftcore.probes.responsiveness import head_energy

    scores = head_energy(source, backbone, per_block, scale)
    rows = [
        {"layer": layer, "projection": p, **{f"head {h + 1}": f"{v:.4f}" for h, v in enumerate(scores.values[i, j])}}
        for i, layer in enumerate(scores.layers)
        for j, p in enumerate(scores.projections)
    ]
    answer(json, scores.to_dict(), f"||dW|| by head: {source}", rows)


for listed in (catalogue.methods, catalogue.tasks, catalogue.backbones, catalogue.fetch, catalogue.cache):
    app.command()(listed)
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
