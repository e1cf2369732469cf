"""Whose turn is next: laws of the order, on people and queues drawn at random."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from peftcore.engine.line import Line, Turn, fair
from peftcore.store import Store


def drawn(seed: int) -> tuple[list[Turn], Counter[str], dict[str, float]]:
    rng = random.Random(seed)
    people = "abcdefgh"[: rng.randint(1, 8)]
    turns = [Turn((n,), rng.choice(people), rng.uniform(0, 100)) for n in range(rng.randint(0, 40))]
    working = Counter({one: rng.randint(0, 2) for one in people})
    return turns, working, {one: rng.uniform(0, 100) for one in people if rng.random() < 0.7}


@pytest.mark.parametrize("seed", range(40))
def test_one_turn_each_before_anybody_has_another_and_the_oldest_first(seed):
    turns, working, served = drawn(seed)
    order = fair(turns, working, served)
    assert sorted(order, key=hash) == sorted(turns, key=hash), "nobody is lost, nobody comes twice"
    had = Counter(working)
    for nth, turn in enumerate(order):
        waiting = {later.owner for later in order[nth:]}
        assert had[turn.owner] == min(had[one] for one in waiting), "the one with the fewest turns is next"
        same = [one for one in waiting if had[one] == had[turn.owner] and working[one] == had[one]]
        if working[turn.owner] == had[turn.owner]:  # nobody of these has had a turn since: the longest ago is next
            assert served.get(turn.owner, 0.0) == min(served.get(one, 0.0) for one in same)
        had[turn.owner] += 1
    for owner in {turn.owner for turn in turns}:
        own = [turn.queued for turn in order if turn.owner == owner]
        assert own == sorted(own)


def test_ten_runs_of_one_person_hold_up_another_by_one():
    mine = [Turn((n,), "ann", n) for n in range(10)]
    order = fair([*mine, Turn((20,), "bob", 50.0), Turn((21,), "bob", 51.0)], {}, {})
    assert [turn.owner for turn in order[:5]] == ["ann", "bob", "ann", "bob", "ann"]
    # Ann's last turn has just ended, nobody works: it is Bob's, though all of Ann's wait longer.
    assert fair([*mine, Turn((20,), "bob", 50.0)], {}, {"ann": 9.0})[0].owner == "bob"


def test_a_race_that_shares_a_process_is_one_turn(tmp_path):
    store = Store(tmp_path)
    line = Line(store, lambda settings: settings.get("forward"))
    race = store.create_race([{"forward": 1}, {"forward": 1}, {}, {}], owner="ann")
    alone = store.create_run({}, owner="bob")
    again = store.create_race([{"forward": 1}, {"forward": 1}], owner="ann")
    order = line.order({})
    assert [turn.runs for turn in order] == [tuple(race[:2]), (alone,), (race[2],), (race[3],), tuple(again)]
    line.begun(order[0])
    store.set_status(race[0], "running")
    assert line.order({"ann": 1}, race[:2])[0].runs == (alone,)
    assert Line(store, lambda settings: None).served().keys() == {"ann"}, "another app knows who had a turn"
