"""A challenge in the app: what is asked, who leads, and for the teacher how it begins and ends."""

from __future__ import annotations

import time

import pandas as pd
import streamlit as st

from app import captions, errors, links, navigation, numbers, state, words
from app.launch import task_choice
from app.room import greeting, overview, who
from peftcore.engine.room import challenge
from peftcore.engine.room.challenge import BUDGETS, Challenge, Entry
from peftcore.figures.method_style import method_title

NO_BUDGET = ""
MOST = {  # by budget, what follows its number
    "memory": "MB of peak memory in a training step",
    "weights": "thousand trained weights",
    "seconds": "seconds of training",
}


def asks(now: Challenge) -> str:
    """What is asked, as plain text."""
    text = f"The best validation accuracy on {words.task_title(now.task)}"
    if now.budget:
        text += f", with at most {now.most:g} {MOST[now.budget]}"
    if now.ends is not None:
        left = now.ends - time.time()
        until = time.strftime("%H:%M", time.localtime(now.ends))
        text += f", by {until} (in {words.duration(left)})" if left > 0 else f". It ended at {until}"
    return text + "."


@st.cache_data(ttl=1.0, show_spinner=False)
def _entries(folder: str, now: Challenge) -> list[Entry]:
    return challenge.board(state.whole_store(), now)


def entries(now: Challenge) -> list[Entry]:
    """The leaderboard, at most a second old."""
    return _entries(str(state.whole_store().folder), now)


def frame(now: Challenge, found: list[Entry]) -> pd.DataFrame:
    """A row for each person."""
    rows = []
    for place, one in enumerate(found, 1):
        row = {"place": place, "name": one.owner or "This machine", "validation": one.val}
        if now.revealed:
            row["test"] = one.test
        row |= {"method": method_title(one.method), "run": one.run, "runs": one.runs}
        if now.budget:
            row[f"{now.budget} ({BUDGETS[now.budget][1]})"] = one.cost
        rows.append(row)
    return pd.DataFrame(rows)


def board() -> None:
    """The challenge that is on and its leaderboard, live; nothing where there is none."""
    if (now := challenge.challenge(greeting.room())) is None:
        if not who.is_teacher():
            st.caption("No challenge is on.")
        return
    st.header("Challenge", anchor=False)
    st.markdown(errors.plain(asks(now)))
    if not who.is_teacher() and not now.over:
        navigation.link("launch", "Launch a run for it", task=now.task)
    st.fragment(_board, run_every=overview.SECONDS)()


def _board() -> None:
    if (now := challenge.challenge(greeting.room())) is None:
        st.rerun()
    found = entries(now)
    if not found:
        st.caption("Nobody has finished a run for it yet.")
        return
    formats = {"validation": "%.4f", "test": "%.4f"}
    columns = {name: st.column_config.NumberColumn(format=form) for name, form in formats.items()}
    table = frame(now, found)
    st.container(key="own_csv_challenge").dataframe(
        table, hide_index=True, key="challenge_board", column_config=columns
    )
    captions.caption(
        "Everybody's best run that finished in time and within the budget, by validation accuracy; of two alike the "
        + ("earlier one leads. Test accuracies chose nothing." if now.revealed else "earlier one leads. What the test "
           "images say is shown when the teacher reveals it.")
    )  # fmt: skip
    numbers.button("Leaderboard (CSV)", table, "challenge")


def manage() -> None:
    """For the teacher: begin one, reveal, end."""
    now = challenge.challenge(greeting.room())
    if now:
        with st.container(horizontal=True):
            st.button(
                "Hide test accuracies" if now.revealed else "Reveal test accuracies", key="challenge_reveal",
                type="secondary" if now.revealed else "primary", icon=":material/visibility:", on_click=_reveal,
                args=(not now.revealed,),
            )  # fmt: skip
            with st.popover("End", icon=":material/flag:"):
                st.markdown("The leaderboard goes, and test accuracies are shown to all. Download the table first.")
                st.button("End the challenge", key="challenge_end", type="primary", on_click=_begin, args=(None,))
        return
    tasks = [name for names in task_choice.by_group().values() for name in names] + task_choice.brought()
    with st.form("challenge_form"):
        row = st.columns(4)
        task = row[0].selectbox("Task", tasks, key="challenge_task", format_func=task_choice.title)
        budget = row[1].selectbox(
            "Budget", [NO_BUDGET, *BUDGETS], key="challenge_budget",
            format_func=lambda name: f"{BUDGETS[name][0]}, {BUDGETS[name][1]}" if name else "none",
        )  # fmt: skip
        most = row[2].number_input("At most", min_value=0.0, value=0.0, key="challenge_most", help="In the unit.")
        minutes = row[3].number_input(
            "Minutes", min_value=0, max_value=10_080, value=30, key="challenge_minutes", help="0 for no deadline."
        )  # fmt: skip
        st.caption("From then on, test accuracies on this task are kept from participants until you reveal them.")
        if st.form_submit_button("Begin the challenge", type="primary", icon=":material/flag:"):
            began = time.time()
            with errors.sentences():
                wanted = Challenge(task, began, budget, most, began + 60 * minutes if minutes else None)
                challenge.begin(who.room(), wanted)
            links.write(part="challenge")
            st.rerun()


def _begin(wanted: Challenge | None) -> None:
    with errors.sentences(stop=False):
        challenge.begin(who.room(), wanted)


def _reveal(on: bool) -> None:
    with errors.sentences(stop=False):
        challenge.reveal(who.room(), on)
