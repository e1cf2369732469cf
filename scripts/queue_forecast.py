"""How well waits are foretold: a room of people on a clock of its own, with the durations of recorded runs.

    python scripts/queue_forecast.py                     # 20 people, three runs each, one slot, ten rooms
    python scripts/queue_forecast.py --people 50 --slots 2 --home FOLDER

Each person launches a run, waits for its end, thinks, and launches the next; some queue two at once. What a launch is
told (engine/forecast.py, learnt from what has finished in this room so far) is compared with what came. Durations are
those of the recorded examples and of the finished runs in FOLDER, times a noise as large as between equal ones.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
from collections import Counter
from collections.abc import Hashable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from peftcore.engine.forecast import STILL, UNKNOWN, Habits, anyone, wait  # noqa: E402
from peftcore.engine.line import Turn, fair  # noqa: E402
from peftcore.engine.schedule import DRAWS, EXPECTED, begins  # noqa: E402
from peftcore.engine.told import Calibration, Wait, missed  # noqa: E402
from peftcore.store import Store, gallery  # noqa: E402
from peftcore.store.durations import Durations, Learnt, Took, took  # noqa: E402

NOISE = 0.2  # standard deviation of the logarithm between runs with equal settings, as recorded
THINKING = (20.0, 120.0)  # seconds between the end of a run and the next launch


def recorded(home: str | None) -> list[Took]:
    """Finished runs: of the gallery, and of a store."""
    found = []
    for name in gallery.names():
        about = gallery.record(name)
        end = next(event for event in about["events"] if event["kind"] == "finished")
        found.append(took(about["spec"], end, (0.0, 0.0)))
    if home:
        found += Durations(Store(home)).learnt().took
    return [one for one in found if one]


def room(
    runs: list[Took],
    people: int,
    each: int,
    slots: int,
    seed: int,
    rehearsed: bool,
    misses: list[tuple[float, float]] | None = None,
) -> list[tuple[float, ...]]:
    """One room: of each launch that had to wait the wait that came, and what was foretold: low, middle, high.

    misses: of the rooms that this machine had before, to which this one's are added.
    """
    misses = [] if misses is None else misses
    rng = random.Random(seed)
    launches = [(rng.uniform(0, 120), person) for person in range(people)]
    heapq.heapify(launches)
    todo = Counter({person: each for person in range(people)})
    waiting: dict[Turn, Took] = {}
    queued: dict[Turn, tuple[float, Wait, Wait | None]] = {}  # when, and the wait, before and after it is calibrated
    working: list[tuple[float, float, Turn, Took]] = []  # end, begin
    served: dict[str, float] = {}
    finished = [_again(one, rng) for one in runs] if rehearsed else []
    results, numbers = list[tuple[float, ...]](), 0
    history: list[tuple[str, float, float | None]] = []
    starts: dict[Turn, float] = {}
    while launches or working or waiting:
        now = min(launches[0][0] if launches else np.inf, working[0][0] if working else np.inf)
        if launches and launches[0][0] == now:
            _, person = heapq.heappop(launches)
            for _ in range(min(todo[person], rng.choice((1, 1, 2)))):
                todo[person] -= 1
                numbers += 1
                one = rng.choice(runs)
                real = _again(one, rng)
                turn = Turn((numbers,), str(person), now)
                waiting[turn] = real
                history.append((turn.owner, now, None))
                told = foretold(
                    turn, waiting, working, served, Learnt(finished[::-1]), Habits(history, now), now, slots
                )
                # Before anything has finished here, people are told their place alone.
                queued[turn] = (now, told, Calibration(misses[::-1]).of(told) if finished else None)
        else:
            _, _, turn, of = heapq.heappop(working)
            finished.append(of)
            history.append((turn.owner, starts.pop(turn), now))
            person = int(turn.owner)
            if todo[person] and not any(one.owner == turn.owner for one in waiting):
                heapq.heappush(launches, (now + rng.uniform(*THINKING), person))
        while waiting and len(working) < slots:
            turn = fair(waiting, Counter(at.owner for _, _, at, _ in working), served)[0]
            of = waiting.pop(turn)
            served[turn.owner] = now
            heapq.heappush(working, (now + of.seconds, now, turn, of))
            starts[turn] = queued[turn][0]
            at, model, said = queued.pop(turn)
            if now - at > 1.0:
                misses.append(missed(model, now - at))
            if now - at > 1.0 and said:
                results.append((now - at, said.low, said.middle, said.high))
    return results


def foretold(
    turn: Turn, waiting: dict[Turn, Took], working: list[tuple[float, float, Turn, Took]], served: dict[str, float],
    learnt: Learnt, habits: Habits, now: float, slots: int,
) -> Wait:  # fmt: skip
    """What this launch is told, as engine/forecast.py tells it of a store."""
    draws, common = np.random.default_rng(0), dict[Hashable, np.ndarray]()

    def whole(took: Took) -> np.ndarray:
        return (learnt.of(took.groups, took.epochs) or UNKNOWN).draws(draws, DRAWS, common)

    busy = Counter(at.owner for _, _, at, _ in working)
    order = fair([*waiting, *habits.expected([one.owner for one in waiting], busy, now)], busy, served)
    left = [np.maximum((some := whole(of)) - (now - begun), STILL * some) for _, begun, _, of in working]
    found = begins(
        order, left, lambda one: whole(waiting[one]) if one.runs[0] > EXPECTED else anyone(learnt, draws), slots,
        lambda: habits.comes(draws),
    )  # fmt: skip
    return wait(found[order.index(turn)], 1, 1)


def _again(one: Took, rng: random.Random) -> Took:
    times = rng.lognormvariate(0, NOISE)
    return Took(one.groups, one.epochs, one.epoch * times, one.rest * times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("people", 20), ("each", 3), ("slots", 1), ("rooms", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rehearsed", action="store_true", help="each recorded run has finished here once before")
    parser.add_argument("--home", help="a HEADROOM_HOME whose finished runs count as recorded")
    options = parser.parse_args()
    runs = recorded(options.home)
    print(f"{len(runs)} recorded runs of {min(r.seconds for r in runs):.0f} to {max(r.seconds for r in runs):.0f} s; "
          f"{options.people} people, {options.each} runs each, slots {options.slots}, rooms {options.rooms}, "
          f"{'rehearsed' if options.rehearsed else 'nothing ran before'}")  # fmt: skip
    misses: list[tuple[float, float]] = []
    rooms = [
        room(runs, options.people, options.each, options.slots, seed, options.rehearsed, misses)
        for seed in range(options.rooms)
    ]
    found = np.array([row for one in rooms for row in one])
    came, low, middle, high = found.T
    off = np.abs(middle - came) / came
    quarter, half, three = np.quantile(off, [0.25, 0.5, 0.75])
    print(
        f"{len(found)} launches waited, {np.median(came):.0f} s in the median; foretold within {half:.0%} in the median"
    )
    print(f"quartiles {quarter:.0%} and {three:.0%}; came / foretold {np.median(came / middle):.2f}; "
          f"{np.mean(within := (low <= came) & (came <= high)):.0%} between low and high, in the first of the rooms "
          f"{np.mean(within[: len(rooms[0])]):.0%}")  # fmt: skip


if __name__ == "__main__":
    main()
