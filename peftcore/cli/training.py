"""Commands that fine-tune in this process: one run, or a race."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from peftcore import events as ev
from peftcore.cli.options import choices, make_spec, spec_options
from peftcore.cli.output import JSON, answer, console, progress_bars
from peftcore.spec import RunSpec
from peftcore.store import conditions, recipes
from peftcore.store.collapse import collapse
from peftcore.store.variations import differences, variations


@spec_options
def run(
    json: JSON = False,
    save: Annotated[str | None, typer.Option(help="Folder for the trained adapter.")] = None,
    *,
    fields: dict[str, Any],
) -> None:
    """Fine-tune once, in this process, and print the result."""
    from peftcore.adapters.save import save_adapter, writable
    from peftcore.cli.image_size import note
    from peftcore.train.loop import Returning, finetune

    by_hand = fields["lr"] is not None
    spec = make_spec(fields)
    if not by_hand:
        console.print(_recipe(spec), highlight=False)
    if text := note(spec):
        console.print(text)
    if save:
        writable(save)  # a folder that cannot be written is refused before the training, not after it
    started: Any = None
    last: Any = None
    seen: dict[str, list[dict[str, Any]]] = {ev.Evaluation.kind: [], ev.SideEntropy.kind: []}
    warned = ""
    with progress_bars(json) as progress:
        bar = progress.add_task("loading", total=None, say="")
        events = Returning(finetune(spec))
        for last in events:
            if isinstance(last, ev.Started):
                started = last
            if last.kind in seen:
                seen[last.kind].append(last.to_dict())
                found = collapse(spec.to_dict(), started.to_dict(), *seen.values())
                if found and found.name != warned:  # once, while there is time to stop it
                    warned = found.name
                    progress.console.print(f"{found.name.capitalize()}. {found.sentence}", style="yellow")
            if shown := _shown(last, started):
                progress.update(bar, **shown)
    model = events.value
    if save:
        save_adapter(save, model, spec, started.classes)
    counts = model.parameter_counts()  # at the end: a method may have switched something off
    words = _conditions(spec, started, last)
    result = {
        "spec": spec.to_dict(),
        "conditions": words,
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
    answer(json, result, f"{spec.method.card.title} on {spec.task}, {_backbone(spec)}: {words}", rows)


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
    fields: dict[str, Any],
) -> None:
    """Fine-tune variations and rank them; side methods share the frozen features."""
    from peftcore.train.race import race_events

    several = choices(vary)
    each_its_own = "method" in several and fields["lr"] is None and "lr" not in several
    specs = variations(make_spec(fields, recipe="method" not in several), several)
    if each_its_own:
        specs = [recipes.at_its_rate(spec) for spec in specs]
    settings = [spec.to_dict() for spec in specs]
    names = [", ".join(f"{n} {v}" for n, v in own.items()) or specs[0].method.name for own in differences(settings)]
    started: dict[int, Any] = {}
    last: dict[int, Any] = {}
    with progress_bars(json) as progress:
        bars = [progress.add_task(name, total=None, say="waits") for name in names]
        for i, event in race_events(specs):
            last[i] = event
            if isinstance(event, ev.Started):
                started[i] = event
            if shown := _shown(event, started.get(i)):
                say = shown["say"] or shown["description"]
                progress.update(bars[i], **{**shown, "description": names[i], "say": say})
    answers: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for i in sorted(last, key=lambda i: -getattr(last[i], "val_accuracy", -1.0)):  # test images choose nothing
        end, row = last[i], {name: _setting(specs[i], name) for name in several}
        if isinstance(end, ev.Failed):
            answers.append({"spec": settings[i], "error": end.error, "message": end.message})
            rows.append({**row, "test accuracy": "failed", "val accuracy": "", "seconds": "", "why": end.message})
            continue
        numbers = {name: getattr(end, name) for name in ("test_accuracy", "val_accuracy", "seconds", "selected_epoch")}
        answers.append({"spec": settings[i], **numbers, "conditions": _conditions(specs[i], started[i], end)})
        accuracies = {"test accuracy": f"{end.test_accuracy:.3f}", "val accuracy": f"{end.val_accuracy:.3f}"}
        rows.append({**row, **accuracies, "seconds": f"{end.seconds:.1f}"})
    titles, tasks, backbones = (
        ", ".join(dict.fromkeys(said))
        for said in ((s.method.card.title for s in specs), (s.task for s in specs), map(_backbone, specs))
    )
    same = conditions.in_common(settings, [started[i].to_dict() if i in started else None for i in range(len(specs))])
    answer(json, answers, f"{titles} on {tasks}, {backbones}: {same}", rows)


def _recipe(spec: RunSpec) -> str:
    """Where a run's settings come from, and which of them were given instead."""
    recipe = recipes.recipe_of(spec)
    whole = ", ".join(f"{name} {_short(value)}" for name, value in {**recipe.fields, **recipe.settings}.items())
    given = {name: getattr(spec, name) for name, value in recipe.fields.items() if getattr(spec, name) != value}
    instead = "; ".join(f"{name} {_short(value)}" for name, value in given.items())
    return f"Recipe: {whole} ({recipe.basis})." + (f" Given instead: {instead}." if given else "")


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value).lower()


def _shown(event: ev.Event, started: ev.Started | None) -> dict[str, Any] | None:
    """How a progress bar shows an event."""
    match event:
        case ev.Progress():
            return {"description": event.what, "completed": event.done, "total": event.total, "say": ""}
        case ev.Download():
            say = f"{event.done / 1e6:,.1f} MB, {event.speed / 1e6:,.1f} MB/s"
            what = f"downloading {event.what}"
            return {"description": what, "completed": event.done, "total": event.total, "say": say}
        case ev.Step() if started:
            say = f"loss {event.loss:.3f}, {event.images_per_second:,.0f} images/s"
            what = f"epoch {event.epoch} of {started.epochs}"
            return {"description": what, "completed": event.step, "total": started.steps, "say": say}
        case ev.Finished():
            return {"say": f"test accuracy {event.test_accuracy:.3f}", "description": "finished"}
        case ev.Failed():
            return {"say": "failed", "description": "failed"}
    return None


def _conditions(spec: RunSpec, started: ev.Started, end: ev.Finished) -> str:
    words = conditions.of_run(spec.to_dict(), started.to_dict())
    return conditions.with_epoch(spec.to_dict(), words, end.selected_epoch)


def _backbone(spec: RunSpec) -> str:
    return spec.backbone if spec.pretrained or spec.weights else f"{spec.backbone} with random weights"


def _setting(spec: RunSpec, name: str) -> Any:
    return spec.method.name if name == "method" else {**spec.method.settings(), **spec.to_dict()}[name]
