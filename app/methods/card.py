"""One method's card, and the list of all."""

from __future__ import annotations

import base64
import re
from typing import Any

import pandas as pd
import streamlit as st

from app import background, captions, errors, navigation, screen, theme, words
from app.desk import Job
from app.methods import known
from peftcore.figures.block import block
from peftcore.figures.method_style import method_in_text, method_title
from peftcore.figures.words import percent, si_bytes, with_units
from peftcore.registry import METHODS

COLUMNS, WIDTH = 3, 620
PHONE_LETTERS = 36  # of an equation's line
KINDS = {"side": "Reads the frozen backbone from its side", "in-backbone": "Changes what the backbone computes"}


def all_cards() -> None:
    st.caption(
        "Two kinds: methods in the backbone change what it computes, so gradients travel through it and a step keeps "
        "its activations; side methods only read it, so a step keeps little and features can be computed once. Peaks "
        "are the ledger's, of a step in 32 bit on a CPU; a GPU's kernels keep a little more or less."
    )
    found = known.names()
    for start in range(0, len(found), COLUMNS):
        for column, name in zip(st.columns(COLUMNS), found[start : start + COLUMNS], strict=False):
            with column, st.container(border=True, height="stretch"):
                navigation.link("methods", method_title(name), icon=":material/article:", bold=True, method=name)
                _short(name)


def _short(name: str) -> None:
    kind = METHODS.facts(name).kind
    mark = words.mark(name, theme.is_dark())
    facts = known.facts(name)
    if isinstance(facts, Job):
        st.markdown(f"{mark} {KINDS[kind]}.")
        return
    st.markdown(f"{mark} {_said(facts['card']['trains'])}")
    share = facts["parameters"]["method"] / facts["parameters"]["backbone"]
    trained = f"{percent(share)} of ViT-B/16's weights" if share else "No weights but the classifier's"
    st.caption(with_units(f"{trained}; a step of 32 images peaks at {si_bytes(facts['peak'])}"))


def one(name: str) -> None:
    facts = known.facts(name)
    if isinstance(facts, Job):
        place = st.empty()
        said = "Looking at one block with the ledger ..."
        background.wait(facts, lambda: place.info(said, icon=":material/memory:"), place)
        place.empty()
        facts = facts.result()
        if isinstance(facts, Exception):
            errors.show(str(facts))
            return
    text = facts["card"]
    when = f"  \n**When to choose it:** {errors.plain(text['choose'])}" if text["choose"] else ""
    st.markdown(f"{words.mark(name, theme.is_dark())} {KINDS[METHODS.facts(name).kind]}.{when}")
    if text["equation"]:
        st.latex(_equation(text["equation"]))
    left, right = st.columns([11, 9], gap="large")
    with left:
        _picture(name, facts)
    with right:
        for title, part in (
            ("What trains", "trains"),
            ("What a step must keep", "keeps"),
            ("What Headroom adds", "ours"),
        ):
            if text[part]:
                st.markdown(f"**{errors.plain(title)}**  \n{_said(text[part])}")
        measure = "No paper: it is a measure for the others." if METHODS.facts(name).baseline else ""
        if source := text["paper"] and _linked(text["paper"]) or measure:
            st.caption(source)
        with st.container(horizontal=True):
            navigation.link("launch", "Launch it", method=name)
            navigation.link("memory", "Why does this fit?", methods=f"{name},lora" if name != "lora" else "full,lora")
    _cost(facts)
    _accuracies(name)


def _picture(name: str, facts: dict[str, Any]) -> None:
    side = None
    if METHODS.facts(name).kind == "side":
        side = {"trained": facts["parameters"]["method"], "features": facts["components"]["features"]}
    width = min(WIDTH, screen.width() - screen.PADDING)
    svg = block(facts["rows"], side=side, width=width, dark=theme.is_dark())
    coded = base64.b64encode(svg.encode()).decode()
    alt = errors.plain(re.findall(r'aria-label="([^"]*)"', svg)[0])
    st.markdown(f"![{alt}](data:image/svg+xml;base64,{coded})")
    captions.caption(
        f"One of the 12 blocks of ViT-B/16 in a training step of 32 images with {method_in_text(name)}'s defaults, "
        "counted by the ledger.",
        "python -m peftcore bench cards",
    )


def _cost(facts: dict[str, Any]) -> None:
    st.header("What it costs", anchor=False)
    text, counts = facts["card"], facts["parameters"]
    if not counts["method"]:
        st.markdown("It trains nothing but the classifier.")
    elif text["counts"]:
        st.markdown(
            f"Trained weights by formula: ${known.formula(text['counts'])}$ = **{facts['expected']:,}** on ViT-B/16 "
            f"({known.letters(text['counts'], facts['settings'])}), and by counting **{counts['method']:,}**."
        )
    else:
        st.markdown(f"Trained weights on ViT-B/16, counted: **{counts['method']:,}**.")
    st.markdown(
        f"A step of 32 images peaks at **{si_bytes(facts['peak'])}** on a CPU: "
        f"{words.components(facts['components'])}. "
        f"{'It merges into plain weights.' if text['mergeable'] else 'It stays a part of the model.'}"
    )


def _accuracies(name: str) -> None:
    """The paper's numbers and ours, which no one should compare with each other."""
    st.header("What it reaches", anchor=False)
    ours, searched, theirs = known.ours(name), known.searched(name), known.papers(name)
    for row in searched:
        beside = f", where LoRA with its own reaches {row['lora']:.1f} %" if row["lora"] and name != "lora" else ""
        st.markdown(
            f"Here: **{row['val']:.1f} %** of the validation images of {row['on']} on {row['backbone']}, the mean of "
            f"{row['seeds']} {'seeds' if row['seeds'] > 1 else 'seed'}, with its measured recipe "
            f"({errors.plain(words.recipe(row['values']).lower())}){beside}."
        )
    if ours:
        spread = f" ({ours['low']:.1f} to {ours['high']:.1f} over {ours['seeds']} seeds)" if ours["seeds"] > 1 else ""
        old = " with earlier weights" if ours["is_old"] else ""
        st.markdown(
            f"In the table of the embedded tasks: **{ours['mean']:.1f} %**{spread} of the test images, the mean of "
            f"{ours['tasks']} tasks on {ours['backbone']}{old}, {ours['under']}."
        )
    elif not searched:
        st.markdown("Here: not measured on an embedded backbone yet. This does it, and goes on if called again:")
        command = (
            f"python -m peftcore bench recipes --methods {name} --stages rates --minutes 30 --storage search.journal"
        )
        st.code(command, language="bash", wrap_lines=True)
    if not theirs:
        st.caption("The published VTAB-1K numbers that come with Headroom do not include it.")
        return
    groups = ("natural", "specialised", "structured", "mean of groups")
    rows = [
        {"source calls it": row["title"]}
        | {group: row[group] and 100 * row[group] for group in groups}
        | {column: row[column] for column in ("backbone", "source")}
        for row in theirs
    ]
    number = st.column_config.NumberColumn(format="%.1f")
    columns = dict.fromkeys(groups, number)
    st.dataframe(pd.DataFrame(rows), hide_index=True, key="method_papers", column_config=columns, placeholder="")
    st.caption(
        "Published on VTAB-1K (percent): another backbone and protocol; see how methods stand to each other there."
    )


def _equation(latex: str) -> str:
    """On a phone each part has a line of its own, and a long sum two."""
    if not screen.is_phone():
        return latex
    parts = [_broken(part) for part in latex.split(r",\quad ")]
    return r"\begin{gathered}" + r" \\[4pt] ".join(parts) + r"\end{gathered}"


def _broken(latex: str) -> str:
    """A sum that is too long for a phone, on two lines: broken at its last plus that is in no bracket."""
    if len(re.sub(r"\\(?:[a-zA-Z]+|.)|[{}_^ ]", "", latex)) <= PHONE_LETTERS:
        return latex
    depth = 0
    for place in range(len(latex) - 1, 0, -1):
        depth += (latex[place] in ")]}") - (latex[place] in "([{")
        if not depth and latex[place] == "+":
            return rf"{latex[:place].rstrip()} \\ {{}} + {latex[place + 1 :].lstrip()}"
    return latex


def _said(text: str) -> str:
    """Of a method's docstring, which writes sizes in plain letters: 'r x d' is 'r × d'."""
    return re.sub(r"\b([a-z]) x ([a-z])\b", "\\1 \N{MULTIPLICATION SIGN} \\2", errors.plain(text))


def _linked(paper: str) -> str:
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", r"[arXiv \1](https://arxiv.org/abs/\1)", errors.plain(paper))
