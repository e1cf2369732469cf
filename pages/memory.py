"""Why does this fit? One training step of each method on the same batch, byte by byte, predicted and measured."""

import streamlit as st

from app import background, captions, errors, libraries, links, theme
from app.drawn import plan
from app.memory import batch_sizes, kept_tensors, ledgers, measuring, step_form
from app.memory.cases import DEVICES
from app.runs import predictions
from peftcore.figures import memory as figures
from peftcore.figures.memory_curves import step_memory
from peftcore.figures.method_style import method_title

WIDE = 110  # characters of a title as wide as the page

st.title("Why does this fit?")
libraries.ready()
cases = step_form.choose()
if not cases:
    st.info("Choose at least one method.")
    st.stop()
asked = list(dict.fromkeys([*cases, kept_tensors.reference(cases)]))
# Looked at before anything is drawn: of what ends meanwhile, the page may have drawn that it is missing.
job, search = ledgers.under_way(asked), batch_sizes.next_job(cases)

measuring.buttons(cases)
busy, (share, text) = st.empty(), ledgers.progress(asked)
text = errors.plain(text)
if job:
    busy.progress(share, text=text)
for fault in ledgers.faults(cases):
    errors.show(fault)
rows = ledgers.rows(cases)
if rows:
    left, right = st.columns([5, 3], gap="medium")
    with left:
        theme.show(plan(figures.memory_bars, rows, cards=figures.CARDS, line=80, dark=theme.is_dark()), "memory_bars")
    with right:
        st.dataframe(ledgers.table(cases), hide_index=True, key="memory_table")
    captions.caption(
        f"The highest moment of one training step of {cases[0].backbone} on {DEVICES[cases[0].device]}: "
        f"{ledgers.about(cases)} {captions.POWERS}",
        cases[-1].command(),
    )
    if lines := ledgers.processes(cases):
        st.dataframe(lines, hide_index=True, key="memory_processes")
        captions.caption(measuring.ABOUT_PROCESSES)
    known = [case for case in cases if ledgers.curve(case)]
    case = links.choice(
        st.segmented_control,
        "memory",
        "curve",
        "within one step of",
        known,
        default=known[-1],
        show=lambda case: method_title(case.method),
        code=lambda case: case.method,
        required=True,
    )
    moments, source = ledgers.curve(case) or ([], "predicted")
    theme.show(plan(step_memory, moments, line=WIDE, dark=theme.is_dark()), "memory_step")
    captions.caption(
        f"One step of {method_title(case.method)}, {source}, operation by operation. "
        "Point at it to read which layer is under way."
    )
    kept_tensors.draw(cases)
    searching = batch_sizes.draw(cases)
    predictions.draw()
elif job:
    st.skeleton(340)

if job := job or ledgers.under_way(asked):  # or one that was begun again since, after a fault that may be mended
    background.wait(job, lambda: busy.progress(share, text=text), busy)
    st.rerun()
if rows and (search := search or batch_sizes.next_job(cases)):
    background.wait(search, lambda: batch_sizes.show_progress(searching, cases), searching)
    st.rerun()
