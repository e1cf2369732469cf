"""Writes assets/recipes.json, the recipes known to work, from the recorded benchmarks.

    python scripts/gather_recipes.py

Reads the learning rates on each embedded backbone's card (`pretrain.py rates`) and, in assets/mini_vtab.json, the rates
that validation chose for each task.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from peftcore.backbone import embedded  # noqa: E402

MADE_BY = "python scripts/gather_recipes.py"


def gathered() -> list[dict[str, Any]]:
    """One recipe for each measured backbone and method, in this order."""
    tasks = json.loads((ROOT / "assets" / "mini_vtab.json").read_text())
    chosen = {(entry["backbone"], entry["method"]): entry["lr"] for entry in tasks["entries"]}
    recipes = []
    for backbone in embedded.names():
        for method, facts in sorted(embedded.card(backbone).get("learning_rates", {}).items()):
            evidence = {
                "on": "the nine tasks of the mini-VTAB",
                "epochs": facts["epochs"],
                "seeds": 1,
                "rates": facts["rates"],
                "by_task": chosen.get((backbone, method), {}),
                "command": tasks["command"],
                "made_by": MADE_BY,
            }
            recipes.append(
                {"method": method, "backbone": backbone, "values": {"lr": facts["lr"]}, "evidence": evidence}
            )
    return recipes


if __name__ == "__main__":
    recipes = gathered()
    (ROOT / "assets" / "recipes.json").write_text(json.dumps(recipes, indent=1) + "\n")
    print(f"{len(recipes)} recipes")
