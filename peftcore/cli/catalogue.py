"""Commands that list what there is (methods, tasks, backbones) and keep what was fetched or computed."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from rich.progress import TaskID

from peftcore import errors
from peftcore.backbone import embedded
from peftcore.cli.output import JSON, answer, progress_bars
from peftcore.registry import METHODS, TASKS


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


def tasks(json: JSON = False) -> None:
    """List the tasks."""
    from peftcore.task import task_card

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


def backbones(
    contains: Annotated[str, typer.Argument(help="Only names with this in them.")] = "", json: JSON = False
) -> None:
    """List the backbones: embedded, then curated with sizes and licences; give part of a name to search all of timm."""
    from peftcore.backbone.load import backbones as names
    from peftcore.fetch.curated import CURATED

    every = names()
    found = [name for name in every if contains.lower() in name]
    if not found:
        raise errors.unknown("backbone whose name contains", contains, every, most=5)
    known = [_known_of(name) for name in found]
    detailed = len(embedded.names()) + len(CURATED)
    shown = known if contains else known[:detailed]
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
    answer(json, known, f"Backbones{more}", rows)


def _known_of(name: str) -> dict[str, Any]:
    """What is known of a backbone without building it. `here`: whether its pretrained weights are, None without any."""
    from timm.models import get_pretrained_cfg

    from peftcore.fetch import places
    from peftcore.fetch.curated import CURATED

    known: dict[str, Any] = dict.fromkeys(("title", "parameters", "bytes", "licence", "trained_on", "here"))
    if name in embedded.names():
        card = embedded.card(name)
        count = card["training"]["parameters"]
        known |= {"parameters": count, "bytes": 4 * count, "trained_on": "pictures that Headroom draws", "here": True}
        known |= {"title": card["title"]}
    elif one := CURATED.get(name):
        known |= {key: getattr(one, key) for key in known if key != "here"} | {"here": places.here(name)}
    elif config := get_pretrained_cfg(name):
        known |= {"licence": config.license, "here": places.here(name) if config.has_weights else None}
    return {"name": name, **known}


def fetch(
    names: Annotated[
        list[str],
        typer.Argument(help="Backbones of timm, with or without their tag; data sets such as torchvision:DTD."),
    ],
    json: JSON = False,
) -> None:
    """Download pretrained weights into the folder of HEADROOM_WEIGHTS, or data sets, for machines without a network."""
    from peftcore import task
    from peftcore.fetch.backbones import fetch as download

    rows = []
    with progress_bars(json) as progress:
        for name in names:
            bar = progress.add_task(name, total=None, say="")

            def tell(done: int, total: int | None, bar: TaskID = bar) -> None:
                progress.update(bar, completed=done, total=total, say=f"{done / 1e6:,.0f} MB")

            is_task = name.partition(":")[0] in TASKS.names()
            place = task.fetch(name, tell) if is_task else download(name, tell=tell)
            files = [place] if place.is_file() else [file for file in place.rglob("*") if file.is_file()]
            rows.append({"name": name, "file": str(place), "bytes": sum(file.stat().st_size for file in files)})
            progress.update(bar, completed=1, total=1, say="is here")
    answer(json, rows, "Fetched", [{**row, "bytes": f"{row['bytes']:,}"} for row in rows])


def cache(clear: Annotated[bool, typer.Option("--clear", help="Remove them all.")] = False, json: JSON = False) -> None:
    """List the frozen features that are kept on disk, or remove them."""
    from peftcore.features.disk import Shelf

    shelf = Shelf()
    entries = shelf.entries()
    if clear:
        freed = shelf.clear()
        answer(json, {"freed": freed}, str(shelf.folder), [{"freed": f"{freed / 1e6:,.1f} MB"}])
        return
    files = [{"file": str(e.path), "bytes": e.bytes, "used": e.used, "made_of": e.about} for e in entries]
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
    answer(json, files, f"{shelf.folder}: {total / 1e6:,.1f} MB of {shelf.limit / 1e6:,.0f} MB", rows)
