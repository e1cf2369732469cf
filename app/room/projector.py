"""For the wall: large type, no controls. The room, the leaderboard, or one run."""

from __future__ import annotations

import html

import streamlit as st

from app import errors, links, state, words
from app.room import challenge_view, entrance, greeting, is_room, overview, who
from app.runs import following, run_charts
from peftcore.engine.room import challenge
from peftcore.engine.room.progress import Progress
from peftcore.errors import NotYours
from peftcore.figures.method_style import method_title

SECONDS = 2.0
MOST_ROWS = 60
NUMBERS = ("Finished", "Best", "Validation", "Test")  # columns
RUN_ROW = 344  # pixels of a row of a run's figures: with the title, two fill a projector of 1,080 lines
COLUMN = 14  # people in one table; more stand side by side, each in fewer words
_STYLE = """<style>
[data-testid="stHeader"], [data-testid="stToolbar"], .st-key-room_banner {display: none}
.stMainBlockContainer {padding: 2rem 3rem}
.walls {display: flex; gap: 0 1.5rem; align-items: flex-start}
.wall {flex: 1 1 0; border-collapse: collapse; font-size: clamp(1rem, 1.7vw, 2.2rem); line-height: 1.3}
.walls:has(.wall + .wall) .wall {font-size: max(.8rem, 1.05vw)}
.wall + .wall .name, .wall:has(+ .wall) .name {
  max-width: 8em; white-space: nowrap; overflow: hidden; text-overflow: ellipsis
}
.wall td, .wall th {padding: 0.3rem 1rem 0.3rem 0; text-align: left; border-bottom: 1px solid rgba(128,128,128,.3)}
.stMainBlockContainer h1 {font-size: 2.6rem; padding-top: 0}
.stMainBlockContainer .stElementContainer:has(style) {position: absolute}
.wall th.number {text-align: right}
.wall th {font-weight: 600; opacity: .8; font-size: .75em}
.wall td.number {font-variant-numeric: tabular-nums; text-align: right}
.wall .bar {display: inline-block; height: .8em; background: currentColor; opacity: .75; min-width: 2px}
.wall .track {display: inline-block; width: 7em; border: 1px solid currentColor; line-height: 0; opacity: .9}
.wallcode {white-space: nowrap; font-size: clamp(2rem, 3.9vw, 5rem); font-weight: 650; letter-spacing: .04em}
.wallsaid {font-size: clamp(1.1rem, 1.8vw, 2.2rem); line-height: 1.35; overflow-wrap: anywhere}
@media (max-width: 640px) {
  .stMainBlockContainer {padding: 1rem}
  .stMainBlockContainer h1 {font-size: 1.8rem}
  .wall td, .wall th {padding-right: .5rem}
  .wall .track {width: 3em}
  .walls {display: block}
  .wall {width: 100%}
}
</style>"""


def draw() -> None:
    """What the address names: `shows` is room, board or run."""
    if not is_room():
        st.title("Is anybody else here?")
        st.caption("A projector shows a room; this Headroom is yours alone.")
        return
    st.html(_STYLE)
    match links.read("shows"):
        case "board":
            st.title("Who leads?")
            st.fragment(_board, run_every=SECONDS)()
        case "run":
            _run(links.number("run", 1, 10**15, 0))
        case _:
            _room()


def _room() -> None:
    st.title("What is this room doing?")
    left, right = st.columns([3, 1], gap="large")
    with right:
        st.html(f'<div class="wallcode">{greeting.room().code}</div>')
        st.image(entrance.picture(entrance.link(), 10), width="stretch")
        st.html(f'<div class="wallsaid">{entrance.readable(entrance.link().partition("?")[0])}</div>')
    with left:
        st.fragment(_everybody, run_every=SECONDS)()


@errors.sentences()
def _everybody() -> None:
    now = who.settings()
    if now.message:
        st.html(f'<div class="wallsaid"><b>{html.escape(now.message)}</b></div>')
    if now.looking != "all" and not who.is_teacher():
        raise NotYours("In this room you can look at your own runs; the teacher projects the room.")
    if who.has_ended():
        st.html('<div class="wallsaid"><b>The room has ended.</b> Take your runs home on the page Room.</div>')
    rows = [row for row in overview.progress() if row.name][:MOST_ROWS]
    if not rows:
        st.html('<div class="wallsaid">Nobody is here yet. Scan the picture, or type the address and the code.</div>')
        return
    few = len(rows) <= COLUMN
    head, line = (["Name", "Now", "", "Finished", "Best"], _row) if few else (["Name", "Now", "Best"], _short_row)
    _walls(head, [line(one) for one in rows])
    st.html('<div style="opacity:.8">Best: the highest validation accuracy of finished runs.</div>')


def _walls(head: list[str], rows: list[str]) -> None:
    """One table, or several side by side."""
    top = f"<tr>{''.join(map(_head, head))}</tr>"
    each = -(-len(rows) // -(-len(rows) // COLUMN))
    parts = ["".join(rows[nth : nth + each]) for nth in range(0, len(rows), each)]
    st.html(f'<div class="walls">{"".join(f"<table class=wall>{top}{part}</table>" for part in parts)}</div>')


def _short_row(row: Progress) -> str:
    now = _track(row) or ("waits" if row.counts.get("queued") else "")
    best = "" if row.val is None else f"{row.val:.3f}"
    return f'<tr><td class="name"><b>{html.escape(row.name)}</b></td><td>{now}</td><td class="number">{best}</td></tr>'


def _track(row: Progress) -> str:
    """How much of the run that works is done, '' where none does."""
    share = "" if row.share is None else f'<span class="bar" style="width:{100 * row.share:.0f}%"></span>'
    return f'<span class="track">{share}</span>' if share else ""


def _row(row: Progress) -> str:
    best = "" if row.val is None else f"{row.val:.3f}"
    return (
        f'<tr><td class="name"><b>{html.escape(row.name)}</b></td><td>{html.escape(overview.doing(row))}</td>'
        f"<td>{_track(row)}</td>"
        f'<td class="number">{row.counts.get("finished", 0)}</td><td class="number">{best}</td></tr>'
    )


@errors.sentences()
def _board() -> None:
    if (now := challenge.challenge(greeting.room())) is None:
        st.html('<div class="wallsaid">No challenge is on.</div>')
        return
    st.html(f'<div class="wallsaid">{html.escape(challenge_view.asks(now))}</div>')
    found = challenge_view.entries(now)[:MOST_ROWS]
    if not found:
        st.html('<div class="wallsaid">Nobody has finished a run for it yet.</div>')
        return
    few = len(found) <= COLUMN
    head = ["", "Name", *(["Method"] if few else []), "Validation", *(["Test"] if now.revealed else [])]
    lines = []
    for place, one in enumerate(found, 1):
        test = "" if one.test is None else f"{one.test:.3f}"
        tested = f'<td class="number">{test}</td>' if now.revealed else ""
        method = f"<td>{html.escape(method_title(one.method))}</td>" if few else ""
        lines.append(
            f'<tr><td class="number">{place}</td>'
            f'<td class="name"><b>{html.escape(one.owner or "This machine")}</b></td>'
            f'{method}<td class="number">{one.val:.3f}</td>{tested}</tr>'
        )
    _walls(head, lines)


def _head(name: str) -> str:
    return f'<th class="number">{name}</th>' if name in NUMBERS else f"<th>{name}</th>"


def _run(run: int) -> None:
    record = state.store().run(run)
    st.title(f"Run {run}: what is it learning?" if not record.ended else f"Run {run}: what did it learn?")
    st.html(
        f'<div class="wallsaid">{html.escape(words.run_title(record.spec))}'
        f"{', by ' + html.escape(record.owner) if record.owner else ''}</div>"
    )
    st.fragment(_charts, run_every=None if record.ended else SECONDS)(run)


@errors.sentences()
def _charts(run: int) -> None:
    record = state.store().run(run)
    run_charts.draw(record, following.follow(state.store(), record), tall=RUN_ROW)
