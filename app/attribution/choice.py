"""The choices of the Attribution page: which class is explained, and by which method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from app import cached, glossary, links, subjects

BY = {
    "integrated_gradients": "integrated gradients",
    "gradcam": "Grad-CAM",
    "occlusion": "occlusion",
    "rollout": "attention rollout",
}
HELP = (
    "**Integrated gradients**: gradients summed on the way from a grey image to this one; together they are the "
    "difference of the class's logit. **Grad-CAM**: the tokens of one layer, weighted by their gradient. "
    "**Occlusion**: how much the logit falls when a patch is covered. **Attention rollout**: where attention leads "
    "through all layers; it is the same for every class."
)
STEPS = (10, 20, 50, 100, 200)
PREDICTED, TRUE = "predicted", "true"
AUTO = 0  # in a layer's place: the last one whose patches the classifier reads


@dataclass(frozen=True)
class Chosen:
    """`of`: 'predicted', 'true', or the number of a class. `layer`: from 1, or AUTO."""

    of: str
    by: str
    layer: int
    steps: int

    @property
    def how(self) -> dict[str, Any]:
        """As `pc.attribute` takes them; what another method would need is not part of it."""
        layer = self.layer - 1 if self.by == "gradcam" and self.layer != AUTO else None
        return {"by": self.by, "layer": layer} | ({"steps": self.steps} if self.by == "integrated_gradients" else {})

    def target(self, predicted: int, true: int | None) -> int:
        if self.of == TRUE and true is not None:
            return true
        return predicted if self.of in (PREDICTED, TRUE) else int(self.of)


def choose(run: subjects.Run, image: int | str, row: Sequence[Any]) -> Chosen:
    """Three widgets in the columns of a row, all in the address."""
    classes = list(map(str, cached.task(run.spec["task"]).classes))
    named = {PREDICTED: "the predicted one"} | ({} if isinstance(image, str) else {TRUE: "the true one"})
    options = [*named, *map(str, range(len(classes)))]
    with row[0]:
        of = links.choice(
            st.selectbox, "attribution", "class", "class", options, default=PREDICTED,
            show=lambda code: named.get(code) or classes[int(code)],
        )  # fmt: skip
    with row[1]:
        by = links.choice(
            st.selectbox, "attribution", "by", "method", list(BY), default="integrated_gradients",
            show=BY.__getitem__, help=glossary.linked(HELP),
        )  # fmt: skip
    layer, steps = AUTO, 50
    with row[2]:
        if by == "gradcam":
            depth = len(cached.anatomy(run.subject).grids)
            layer = links.choice(
                st.selectbox, "attribution", "layer", "layer", range(depth + 1), default=AUTO,
                show=lambda one: f"{one} of {depth}" if one else "automatic",
            )  # fmt: skip
        if by == "integrated_gradients":
            steps = links.choice(st.selectbox, "attribution", "steps", "steps", STEPS, default=50)
    return Chosen(of, by, layer, steps)
