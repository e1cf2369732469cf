"""The figures of a page that AppTest ran, as the browser gets them, and clicks on their marks."""

from __future__ import annotations

import json
from typing import Any

from streamlit.components.v2.bidi_component.main import _make_trigger_id

from app import figure


def _protos(app: Any) -> dict[str, Any]:
    """The component's elements by the figure's key, in the page's order."""
    protos = (element.proto for element in app.get("bidi_component"))
    return {json.loads(one.json)["name"]: one for one in protos if one.component_name == figure.NAME}


def figures(app: Any) -> dict[str, dict]:
    """What Plotly is given, by the figure's key, in the page's order: data, layout, frames."""
    return {key: json.loads(json.loads(one.json)["figure"]) for key, one in _protos(app).items()}


def titles(app: Any) -> list[str]:
    """Of all figures; "" for one without a title."""
    return [one["layout"].get("title", {}).get("text", "") for one in figures(app).values()]


def click(app: Any, key: str, *customdata: int) -> None:
    """Clicks the mark with this `customdata`, as the browser tells it."""
    proto = _protos(app)[key]
    assert json.loads(proto.json)["clickable"], f"{key} takes no clicks"
    states = app._tree.get_widget_states()
    told = json.dumps([{"event": "click", "value": list(customdata)}])
    states.widgets.add(id=_make_trigger_id(proto.id, "events"), json_trigger_value=told)
    app._run(states)
    assert not app.exception, app.exception
