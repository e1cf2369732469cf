"""Kills apps at random moments and reports what became of their runs: `python -m tests.chaos --kills 20`.

Each line of the log is what was done, or how a round ended; what stops goes on where it was, to the same number of
kills. See docs/chaos.md.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tests.chaos import toy
from tests.chaos.report import MISSED, report
from tests.chaos.round import MODES, TOYS, Round, pictures, specs, weights
from tests.chaos.troubles import NONE


def main() -> None:
    words = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__.splitlines()[0])
    words.add_argument("--kills", type=int, default=20)
    words.add_argument("--minutes", type=float, default=60.0, help="no round begins later than this")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--log", type=Path, default=Path("build/chaos.jsonl"))
    words.add_argument(
        "--toys", type=float, default=0.5, help="share of the rounds that take toys for runs, and no page"
    )
    words.add_argument("--each", type=int, default=6, help="troubles of a round")
    words.add_argument("--only", help="kinds of trouble, with commas between")
    words.add_argument("--mode", choices=MODES, help="of all rounds: one app, two on one home, or a clock that jumps")
    words.add_argument("--report", action="store_true", help="only report what the log has")
    given = words.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # apps are ended and disks let go of
    given.log.parent.mkdir(parents=True, exist_ok=True)

    def say(line: dict[str, Any]) -> None:
        with given.log.open("a") as file:
            print(json.dumps(line | {"at": round(time.time(), 1)}), file=file, flush=True)

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in given.log.read_text().splitlines()] if given.log.exists() else []

    if given.report:
        return print(report(lines()))
    began = time.monotonic()
    task = pictures(given.log.resolve().parent / "chaos-pictures")
    known = {key: value for line in lines() if line["kind"] == "undisturbed" for key, value in line["weights"].items()}
    number = sum(line["kind"] == "round" for line in lines()) - 1
    goodbye = ThreadPoolExecutor()  # a minute in which the last processes of a round go, and the next one is at work
    while (done := sum(line.get("hit", NONE) not in MISSED for line in lines())) < given.kills:
        if time.monotonic() - began > 60 * given.minutes:
            break
        number += 1
        rng = random.Random(f"{given.seed} {number}")
        mode = given.mode or rng.choices(list(MODES), list(MODES.values()))[0]
        what = TOYS if rng.random() < given.toys else task
        names = toy.specs() if what == TOYS else specs(task)
        if any(f"{name} 0" not in known for name in names):
            calm = weights(what, say)
            say({"kind": "undisturbed", "weights": calm})
            known |= calm
        one = Round(what, rng, partial(_of_round, say, number), mode)
        try:
            one.hurt(min(given.each, given.kills - done), given.only.split(",") if given.only else ())
            runs = one.settle()
        except BaseException:
            one.end(keep=True)
            raise
        for run in runs:
            run["equal"] = run["weights"] == known[run["name"]] if run["weights"] else None
        about = {"kind": "round", "number": number, "mode": mode, "toys": what == TOYS, "runs": runs}
        about["integrity"] = one.integrity()
        goodbye.submit(_end, one, about, say)
    goodbye.shutdown()
    print(report(lines()))


def _of_round(say: Callable[[dict[str, Any]], None], number: int, line: dict[str, Any]) -> None:
    say(line | {"round": number})


def _end(one: Round, about: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    say(about | one.end(keep=any(not run["equal"] for run in about["runs"])))


if __name__ == "__main__":
    main()
