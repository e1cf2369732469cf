"""The component that draws figures: what it is given, where its scripts come from, and a click that comes back."""

from __future__ import annotations

import re

from drawn import click, figures
from streamlit.testing.v1 import AppTest

from app import figure


def page() -> None:
    import plotly.graph_objects as go
    import streamlit as st

    from app import links
    from app.figure import figure as draw

    grid = go.Figure(go.Heatmap(z=[[1, 2], [3, 4]], customdata=[[[0, 0], [0, 1]], [[1, 0], [1, 1]]]))
    said = draw(grid, key="grid", on_click=lambda: st.session_state.update(heard=links.clicked("grid")))
    draw(grid.update_layout(autosize=False, width=200, height=90), key="still")
    st.text(f"{st.session_state.get('heard')} {said}")


def test_a_click_on_a_heatmap_s_cell_arrives_once():
    app = AppTest.from_function(page).run()
    assert not app.exception and app.text[0].value == "None None"
    click(app, "grid", 1, 0)
    assert app.text[0].value == "[1, 0] [1, 0]"
    app.run()
    assert app.text[0].value == "[1, 0] None"


def test_figures_reach_the_browser_whole_and_at_their_size():
    app = AppTest.from_function(page).run()
    drawn = figures(app)
    assert list(drawn) == ["grid", "still"] and drawn["still"]["layout"]["width"] == 200
    scripts = [element.proto.js_source_path for element in app.get("bidi_component")]
    assert scripts == ["figure.js"] * 2  # by address: not within each figure


def test_scripts_come_from_the_app_alone():
    for folder in figure.ASSETS.values():
        assert folder.is_dir()
    script = (figure.ASSETS[figure.NAME] / "figure.js").read_text()
    plotly, package = re.search(r"\.\./(headroom\.plotly)/(plotly\.min\.js)", script).groups()
    assert (figure.ASSETS[plotly] / package).stat().st_size > 1_000_000
    assert "://" not in script and "://" not in (figure.ASSETS[figure.NAME] / "figure.css").read_text()


def test_a_title_is_heard_whole_also_where_it_says_less_than():
    import plotly.graph_objects as go

    made = go.Figure().update_layout(
        title_text="A finding<br><span style='font-size: 12px'>128 points, p < 0.001</span>"
    )
    assert figure.title(made) == "A finding; 128 points, p < 0.001"


def test_what_is_said_of_a_figure_goes_on_with_its_keys(monkeypatch):
    """'A finding. The arrow keys ...', not with two full stops."""
    import plotly.graph_objects as go

    said = {}
    monkeypatch.setattr(figure, "_component", lambda: lambda **given: said.update(given["data"]) or {"click": None})
    monkeypatch.setattr(figure, "clicked", lambda said: None)
    figure.figure(go.Figure(), key="one", alt="A finding.")
    assert said["says"] == "A finding"
