"""A notification of the browser when a run ends or stands still, for whoever asks for it.

The browser asks its user once and keeps the answer. The page has to be open, in front or behind: in a browser that has
left it, nothing of the app runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app import state, words
from app.runs import trouble
from peftcore.errors import NotYours, UnknownName
from peftcore.store import RunRecord

_WATCHED, _TOLD = "alerts_watched", "alerts_told"  # in the session: runs under way, and what has been told
MOST_TOLD = 50

_HTML = '<label><input type="checkbox"> <span></span></label>'
_CSS = """
label { display: flex; gap: 0.5em; align-items: baseline; cursor: pointer; color: var(--st-text-color);
        font-family: var(--st-font); font-size: 0.85rem; opacity: 0.8; }
input { accent-color: var(--st-primary-color); }
"""
_JS = """
export default function ({ data, parentElement }) {
  const box = parentElement.querySelector("input"), text = parentElement.querySelector("span");
  const able = "Notification" in window && window.isSecureContext;
  const on = () => able && Notification.permission === "granted" && localStorage.headroomAlerts === "on";
  const draw = () => {
    box.checked = on();
    box.disabled = !able || Notification.permission === "denied";
    text.textContent = !able ? data.texts.insecure
      : Notification.permission === "denied" ? data.texts.denied : on() ? data.texts.on : data.texts.off;
  };
  box.onchange = async () => {
    if (box.checked && Notification.permission !== "granted") await Notification.requestPermission();
    localStorage.headroomAlerts = box.checked ? "on" : "off";
    draw();
  };
  draw();
  const told = window.headroomAlerted ??= new Set();
  for (const one of data.news) {
    if (told.has(one.key)) continue;
    told.add(one.key);
    if (!on()) continue;
    try {
      new Notification(one.title, { body: one.body, tag: one.key }).onclick = () => window.focus();
    } catch {  // phones notify from a service worker alone
      text.textContent = data.texts.phone;
    }
  }
}
"""
_component = st.components.v2.component("run_alerts", html=_HTML, css=_CSS, js=_JS)
TEXTS = {
    "off": "Notify me when a run ends",
    "on": "Notifies you when a run ends or stands still, while this page is open",
    "denied": "Notifications are blocked for this address; the browser's settings of the site allow them",
    "insecure": "Notifications need https, or the app on this machine itself",
    "phone": "This browser shows no notifications from a page",
}


def draw(waiting: Sequence[RunRecord]) -> None:
    """The switch, and the news since the page was opened. `waiting`: the runs that wait or work."""
    _component(key="run_alerts", data={"texts": TEXTS, "news": news(waiting)})


def news(waiting: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """What happened to the runs that this session saw at work: key, title and body of each, the oldest first."""
    watched: set[int] = st.session_state.get(_WATCHED, set())
    told: dict[str, dict[str, Any]] = st.session_state.setdefault(_TOLD, {})
    for run in sorted(watched - {record.id for record in waiting}):
        try:
            record = state.store().run(run)
        except (UnknownName, NotYours):  # purged, or no longer theirs to look at
            continue
        _tell(told, record, record.status, _ending(record))
    for record in waiting:
        if record.status == "running" and (found := trouble.collapsed(record)):
            _tell(told, record, found.name, (f"has a collapse: {found.name}", found.sentence))
        if record.status == "running" and (stuck := trouble.of(record)):
            _tell(told, record, f"plateau-{stuck.since}", (f"stands still since epoch {stuck.since}", stuck.sentence))
    st.session_state[_WATCHED] = {record.id for record in waiting}
    while len(told) > MOST_TOLD:
        del told[next(iter(told))]
    return list(told.values())


def _tell(told: dict[str, dict[str, Any]], record: RunRecord, what: str, text: tuple[str, str]) -> None:
    key = f"{state.store().folder.name}-{record.id}-{record.attempts}-{what}"
    name = f" ({record.name})" if record.name else ""
    told.setdefault(key, {"key": key, "title": f"Run {record.id}{name} {text[0]}", "body": text[1]})


def _ending(record: RunRecord) -> tuple[str, str]:
    title = words.run_title(record.spec)
    if record.status == "finished":
        if (accuracy := record.summary.get("test_accuracy")) is None:
            return "finished", title
        return f"finished: {accuracy:.3f}", f"{title}, test accuracy"
    wrong = trouble.name(record)
    return f"{record.status}{f', {wrong}' if wrong else ''}", record.error or title
