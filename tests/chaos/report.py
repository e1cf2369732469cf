"""The log in words: kills by kind, how runs ended, weights, the database, orphans."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.chaos.troubles import NONE

HOME = re.compile(r"\S*headroom-chaos-\w+/home")  # each round has its own
MISSED = (NONE, "it had gone", "it was dead already")


def report(lines: Iterable[dict[str, Any]]) -> str:
    lines = list(lines)
    ended = {line["number"] for line in lines if line["kind"] == "round"}
    tried = [line for line in lines if "hit" in line and line["round"] in ended]  # of the others nobody knows what came
    hits = [line for line in tried if line["hit"] not in MISSED]
    rounds = [line for line in lines if line["kind"] == "round"]
    runs = [run for one in rounds for run in one["runs"]]
    clicked = [run for run in runs if run["after a click"]]
    weighed = [run for run in runs if run["equal"] is not None]
    died = [line for line in lines if line["kind"] == "died"]
    gone = [one["gone_after"] for one in rounds]
    often = [run["attempts"] for run in runs if run["attempts"] > 1]
    said = [
        f"{len(hits)} kills and other troubles in {len(rounds)} rounds: {_counted(line['kind'] for line in hits)}",
        f"{sum(line['working'] > 0 for line in hits)} of them while runs worked; {len(tried) - len(hits)} more found "
        "nothing to hurt and are not counted",
        f"rounds: {_counted(one['mode'] + ('' if one['toys'] else ' (real runs)') for one in rounds)}",
        f"{len(runs)} runs: {_counted(run['end'][0] for run in runs)}",
        f"clicked on: {len(clicked)}, then {_counted(run['after a click'][0] for run in clicked)}",
        f"{len(often)} runs began more than once, the most {max(often, default=1)} times",
        f"weights: {sum(run['equal'] for run in weighed)} of {len(weighed)} equal to the bit to an undisturbed run's",
        f"integrity_check: {_counted(one['integrity'] for one in rounds)}",
        f"orphans: {sum(len(one['orphans']) for one in rounds)}; after the app was killed the last process was gone in "
        f"{max(gone, default=0)} s at most, {sorted(gone)[len(gone) // 2] if gone else 0} s in the median",
        f"apps that ended by themselves, by what came before: {_counted(line['after'] for line in died)}",
    ]
    reasons = Counter(HOME.sub("HOME", str(run["end"][1])) for run in runs if run["end"][0] != "finished")
    return "\n".join([*said, *(f"  {n} x {why}" for why, n in reasons.most_common())])


def _counted(what: Iterable[str]) -> str:
    return ", ".join(f"{kind} {n}" for kind, n in Counter(what).most_common()) or "none"
