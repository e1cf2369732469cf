"""The image under the pointer: beside the points of a figure, the picture that each stands for.

Plotly draws no pictures in its labels. A small component beside the figure listens to the figure's own hover events
and lays a piece of one large sheet over the page. The figure's arrow keys are such events too.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.tasks.feature_points import Drawn

SIDE = 112  # pixels of the page
_HTML = '<div class="hover-card" hidden><div></div><span></span></div>'
_CSS = """
.hover-card {position: fixed; z-index: 1000; pointer-events: none; padding: 6px; border-radius: 6px; font-size: 12.5px;
  max-width: 170px; line-height: 1.25; background: var(--st-background-color); color: var(--st-text-color);
  border: 1px solid var(--st-border-color); box-shadow: 0 2px 10px rgba(0, 0, 0, 0.25); font-family: var(--st-font)}
[class*="st-key-points_"] .hoverlayer {display: none}
.hover-card div {border-radius: 3px; margin-bottom: 4px}
"""
_JS = """
export default function ({ parentElement, data }) {
  const card = parentElement.querySelector(".hover-card"), [picture, name] = card.children;
  picture.style.cssText = `width:${data.shown}px;height:${data.shown}px;background-image:url(${data.sheet});` +
    `background-size:${data.columns * data.shown}px auto`;
  const hide = () => { card.hidden = true; };
  const show = (index, x, y) => {
    const across = index % data.columns, down = Math.floor(index / data.columns);
    picture.style.backgroundPosition = `${-across * data.shown}px ${-down * data.shown}px`;
    name.textContent = data.names[index];
    card.hidden = false;
    const box = card.getBoundingClientRect();
    card.style.left = `${Math.max(4, Math.min(x - box.width / 2, window.innerWidth - box.width - 4))}px`;
    card.style.top = `${y - box.height - 14 > 4 ? y - box.height - 14 : y + 14}px`;
  };
  const image = point => Array.isArray(point.customdata) ? point.customdata[0] : point.customdata;

  // A figure may come later than this and be made anew: it is taken hold of when a pointer or the focus reaches it.
  const hold = event => {
    const chart = event.target.closest?.(".js-plotly-plot");
    if (!chart?.on || !data.figures.some(key => chart.closest(`.st-key-${key}`))) return;
    const held = chart.headroom;
    chart.headroom = { show, hide };
    if (held) return;
    chart.on("plotly_hover", ({ event, points: [point] }) => {
      if (!point) return;
      const frame = chart.getBoundingClientRect(), box = point.bbox;  // keys have no pointer: the point's own place
      const [x, y] = event?.clientX ? [event.clientX, event.clientY] :
        [frame.x + (box.x0 + box.x1) / 2, frame.y + box.y0];
      chart.headroom.show(image(point), x, y);
    });
    chart.on("plotly_unhover", () => chart.headroom.hide());
  };
  document.addEventListener("pointerover", hold);
  document.addEventListener("focusin", hold);
  return () => {
    document.removeEventListener("pointerover", hold);
    document.removeEventListener("focusin", hold);
  };
}
"""

_component = st.components.v2.component("hover_images", html=_HTML, css=_CSS, js=_JS, isolate_styles=False)


def images(drawn: Drawn, figures: Sequence[str]) -> None:
    """Shows each point's image in the figures with these keys, whose points have the image's number as `customdata`."""
    data = {
        "sheet": drawn.sheet.address,
        "columns": drawn.sheet.columns,
        "names": drawn.names,
        "figures": list(figures),
        "shown": SIDE,
    }
    _component(key="hover_images", data=data)
