"""Writes the tables of README.md and docs/ from the code; `python scripts/docs.py --check` fails where they are stale."""

from __future__ import annotations

import re
import sys
from pathlib import Path

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
        rows.append(
            f"| `{name}` {card.title} | {method.kind} | {card.trains} | {fields} | {'yes' if card.mergeable else 'no'} | {paper} |"
        )
    return "\n".join(rows)


def tasks_table() -> str:
    from peftcore.registry import TASKS
    from peftcore.task import task_card

    rows = ["| task | group | classes | what it asks |", "|---|---|---|---|"]
    for name in TASKS.names():
        card = task_card(name)
        rows.append(
            f"| `{card.shown}` {card.title} | {'its own' if card.argument else card.group} | {len(card.classes) or 'its own'} | {card.description} |"
        )
    return "\n".join(rows)


def commands_table() -> str:
    from peftcore.__main__ import app

    rows = ["| command | what it does |", "|---|---|"]
    groups = [("", app.registered_commands)] + [
        (g.name + " ", g.typer_instance.registered_commands) for g in app.registered_groups
    ]
    for group, command in ((group, command) for group, commands in groups for command in commands):
        name = group + (command.name or command.callback.__name__)
        rows.append(f"| `python -m peftcore {name}` | {(command.callback.__doc__ or '').strip().splitlines()[0]} |")
    return "\n".join(rows)


def settings_table() -> str:
    from peftcore.home import VARIABLES
    from peftcore.uploads.limits import PREFIX, Limits

    rows = ["| variable | default | meaning |", "|---|---|---|"]
    rows += [f"| `{name}` | {default} | {meaning} |" for name, (default, meaning) in VARIABLES.items()]
    rows += [
        f"| `{PREFIX}{name.upper()}` | {field.default:,} | Uploads: at most so many {field.description}. |"
        for name, field in Limits.model_fields.items()
    ]
    return "\n".join(rows)


def _linked(paper: str) -> str:
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", paper)


TABLES = {"methods": methods_table, "tasks": tasks_table, "commands": commands_table, "settings": settings_table}
PAGES = ("README.md", "docs/settings.md")


def rewritten(text: str) -> str:
    """`text` with each table between its markers made anew."""
    for name, table in TABLES.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text = re.sub(pattern, lambda m, t=table: m[1] + t() + "\n" + m[2], text, flags=re.S)
    return text


if __name__ == "__main__":
    stale = [page for page in PAGES if rewritten((ROOT / page).read_text()) != (ROOT / page).read_text()]
    if "--check" in sys.argv:
        sys.exit(f"{', '.join(stale)}: stale; run python scripts/docs.py" if stale else 0)
    for page in stale:
        (ROOT / page).write_text(rewritten((ROOT / page).read_text()))
