"""The charts of one run, in places of fixed size, so that nothing moves while they grow."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import screen, theme, words
from app.captions import POWERS, caption
from app.drawn import Plan, plan
from app.heads import cut
from app.runs import collapsed
from app.runs.following import Follower
from peftcore.figures import curves, masks, memory_curves
from peftcore.figures.accuracy import Ground
from peftcore.store import RunRecord

TALL = 376  # height of a row, pixels
GAP = 16  # between two figures in one row
LEARNT = ("loss", "norm")  # which of them depend on the weights that training began with
EDGE = 8  # of which a place needs for itself


def draw(record: RunRecord, follower: Follower, tall: int = TALL) -> None:
    """Loss and accuracy, learning rate, norm of the gradient, memory by step and within a step. `tall`: pixels of each
    of the two rows."""
    collapsed.draw(record, follower)
    small = (tall - GAP) // 2
    places = _places(tall, small)
    if not follower.total or follower.started is None:
        return
    spec, steps, total = record.spec, follower.frame(), follower.total
    dark, tall, small = theme.is_dark(), tall - EDGE, small - EDGE
    loss = plan(
        curves.loss_curve,
        steps,
        follower.evaluation_frame(),
        total,
        method=spec["method"]["name"],
        kind=follower.started["method_kind"],
        ground=Ground.of(follower.started, "test"),
        dark=dark,
        height=tall,
    )
    figures: dict[str, Plan] = {
        "loss": loss.and_(masks.mark_steps, cut.step_of(follower), dark=dark),
        "rate": plan(curves.learning_rate_curve, steps, total, peak=spec["lr"], dark=dark, height=small),
        "norm": plan(curves.gradient_norm, steps, total, dark=dark, height=small),
        "peaks": plan(memory_curves.memory_over_steps, steps, total, dark=dark, height=tall),
    }
    if follower.step_memory:
        figures["moments"] = plan(
            memory_curves.step_memory, follower.step_memory["report"]["curve"], dark=dark, height=tall
        )
    for name, figure in figures.items():
        with places[name]:
            theme.show(figure, key=f"{name}_{record.id}", spec=spec if name in LEARNT else None)
    caption(
        f"Run {record.id}, {words.run_title(spec)}, seed {spec['seed']}. Above: training loss and accuracy, learning "
        "rate, norm of the gradient. Below: the peak of each traced step, and the second step moment by moment. "
        f"{POWERS}",
        words.command(spec),
    )


def _places(tall: int, small: int) -> dict[str, DeltaGenerator]:
    tall, small = screen.tall(tall), screen.tall(small)
    left, right = st.columns(2)
    places = {"loss": left.container(height=tall, border=False)}
    places |= {name: right.container(height=small, border=False) for name in ("rate", "norm")}
    left, right = st.columns(2)
    return places | {
        name: side.container(height=tall, border=False) for name, side in (("peaks", left), ("moments", right))
    }
