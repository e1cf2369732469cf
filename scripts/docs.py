"""Writes the tables of README.md and docs/ from the code; `python scripts/docs.py --check` fails if they are stale."""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def methods_table() -> str:
    from peftcore.registry import METHODS

    rows = ["| method | kind | what trains | settings | mergeable | paper |", "|---|---|---|---|---|---|"]
    for name in METHODS.names():
        method = METHODS.load(name).METHOD
        card = method.card
        fields = ", ".join(f"`{f}`" for f in method.model_fields) or "none"
        paper = _linked(card.paper) or "–"
        mergeable = "yes" if card.mergeable else "no"
        rows.append(f"| `{name}` {card.title} | {method.kind} | {card.trains} | {fields} | {mergeable} | {paper} |")
    return "\n".join(rows)


def tasks_table() -> str:
    from peftcore.registry import TASKS
    from peftcore.task import task_card

    rows = ["| task | group | classes | what it asks |", "|---|---|---|---|"]
    for name in TASKS.names():
        card = task_card(name)
        group = "its own" if card.argument else card.group
        classes = len(card.classes) or "its own"
        rows.append(f"| `{card.shown}` {card.title} | {group} | {classes} | {card.description} |")
    return "\n".join(rows)


def commands_table() -> str:
    from peftcore.__main__ import app

    rows = ["| command | what it does |", "|---|---|"]
    groups: list[Any] = [("", app), *((f"{group.name} ", group.typer_instance) for group in app.registered_groups)]
    for group, verbs in groups:
        for command in verbs.registered_commands:
            name = group + (command.name or command.callback.__name__)
            rows.append(f"| `python -m peftcore {name}` | {(command.callback.__doc__ or '').strip().splitlines()[0]} |")
    return "\n".join(rows)


def mini_vtab() -> str:
    """A sentence on what methods reach, from the record that lessons read."""
    from app.learn import mini
    from peftcore.registry import METHODS

    titles = {name: METHODS.facts(name).title for name in ("linear", "last", "lora", "full")}
    reached = [f"{title} {mini.mean(name):.0f} %" for name, title in titles.items() if name in mini.methods()]
    return (
        f"On {len(mini.tasks())} tasks of the mini-VTAB, `{mini.BACKBONE}` reaches, {mini.budget()} and on average "
        f"over {mini.seeds()} seeds{mini.since()}: {', '.join(reached)}. [The table](docs/tasks.md) has all methods."
    )


def recipes_table() -> str:
    """Each recipe of assets/recipes.json, and how far its search went."""
    from app import words
    from peftcore.registry import METHODS
    from peftcore.store.recipes import of_row, recorded

    rows = ["| method | backbone | learning rate | epochs | beyond the published | validation (%) | searched |",
            "|---|---|---:|---:|---|---:|---|"]  # fmt: skip
    for entry in recorded():
        values, evidence = entry["values"], entry["evidence"]
        val = next(row["val"] for row in evidence["tried"] if of_row(row) == values)
        beyond, searched = ", ".join(words.beyond(values)), ", ".join(evidence["searched"])
        rows.append(
            f"| {METHODS.facts(entry['method']).title} | `{entry['backbone']}` | {values['lr']:g} | {values['epochs']} "
            f"| {beyond} | {'' if val is None else f'{100 * val:.1f}'} | {searched} |"
        )
    return "\n".join(rows)


def longer_runs() -> str:
    """The recipes that keep fewer epochs than would win."""
    from app.launch.tried import longer
    from peftcore.registry import METHODS
    from peftcore.store.recipes import recorded

    return "\n".join(
        f"- {METHODS.facts(entry['method']).title} on `{entry['backbone']}`: {more}"
        for entry in recorded()
        if (more := longer(entry))
    )


def fallen_runs() -> str:
    """How many of the table's runs fall back, by method, counted after each of their validations."""
    from peftcore.registry import METHODS
    from peftcore.store.collapse import fallen_from
    from peftcore.task import load_task

    rows = [json.loads(line) for line in (ROOT / "docs" / "runs" / "mini_vtab.jsonl").read_text().splitlines()]
    every, fallen = Counter(row["spec"]["backbone"] for row in rows), dict[str, Counter[str]]()
    for row in rows:
        spec, images = row["spec"], len(load_task(row["spec"]["task"]).val)
        seen = [{"epoch": int(epoch), "accuracy": accuracy} for epoch, accuracy in row["val"].items()]
        begun = sum(event["epoch"] <= math.ceil(spec["warmup"] * spec["epochs"]) for event in seen)
        if any(fallen_from(spec, seen[:end], images) for end in range(begun + 1, len(seen) + 1)):
            fallen.setdefault(spec["backbone"], Counter())[METHODS.facts(spec["method"]["name"]).title] += 1
    return " ".join(
        f"On `{backbone}` {sum(here.values())} of {count:,} runs of the table do: "
        f"{', '.join(f'{number} of {title}' for title, number in here.most_common())}."
        if (here := fallen.get(backbone))
        else f"On `{backbone}` none of {count:,} runs of the table does."
        for backbone, count in sorted(every.items())
    )


def settings_table() -> str:
    from peftcore.cli.variables import VARIABLES
    from peftcore.uploads.limits import PREFIX, Limits

    rows = ["| variable | default | meaning |", "|---|---|---|"]
    rows += [f"| `{name}` | {default} | {meaning} |" for name, (default, meaning) in VARIABLES.items()]
    rows += [
        f"| `{PREFIX}{name.upper()}` | {field.default:,} | Uploads: most {field.description}. |"
        for name, field in Limits.model_fields.items()
    ]
    return "\n".join(rows)


def _linked(paper: str) -> str:
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", paper)


TABLES = {"methods": methods_table, "tasks": tasks_table, "commands": commands_table, "settings": settings_table,
          "mini_vtab": mini_vtab, "recipes": recipes_table, "longer": longer_runs,
          "fallen": fallen_runs}  # fmt: skip
PAGES = ("README.md", "docs/settings.md", "docs/recipes.md")


def rewritten(text: str) -> str:
    """`text` with the table between each pair of markers written anew."""
    pattern = rf"(<!-- ({'|'.join(TABLES)}) -->\n).*?(<!-- /\2 -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{TABLES[m[2]]()}\n{m[3]}", text, flags=re.S)


if __name__ == "__main__":
    stale = [page for page in PAGES if rewritten((ROOT / page).read_text()) != (ROOT / page).read_text()]
    if "--check" in sys.argv:
        sys.exit(f"{', '.join(stale)}: stale; run python scripts/docs.py" if stale else 0)
    for page in stale:
        (ROOT / page).write_text(rewritten((ROOT / page).read_text()))
