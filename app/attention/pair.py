"""The two attentions that a run lets one compare."""

from __future__ import annotations

from app import cached
from app.looks import MEAN, ROLLOUT, Pair, moved
from app.subjects import Subject, run
from peftcore.figures.method_style import method_title
from peftcore.registry import METHODS


def pair_of(
    subject: Subject, image: int | str, layer: int, head: int, module: int | None, query: tuple[int, int] | None
) -> Pair:
    """The two attentions that a run lets one compare: backbone and side network, or before and after tuning."""
    known, method = cached.anatomy(subject), run(subject).method
    first = cached.attention(subject, image, layer, query, tuned=False)
    grid, shown = (known.grids[-1], known.grids[0]) if layer == ROLLOUT else (known.grids[layer],) * 2
    where = "all layers" if layer == ROLLOUT else f"layer {layer + 1}"
    if module is not None:
        other = known.side_grids[module]
        second = cached.side_attention(subject, image, module, moved(query, grid, other))
        remark = ""
        if other != shown:
            remark = (
                f"No difference here: the map of {where} of the backbone has {shown[0]} x {shown[1]} patches and this "
                f"module {other[0]} x {other[1]}. Choose a layer and a module of one stage."
            )
        titles = (f"Backbone, {where}", f"Side network, module {module + 1}")
        return Pair(first, second, MEAN, titles, ("backbone", "side network"), remark)
    if known.in_backbone:
        second = cached.attention(subject, image, layer, query)
        titles = (f"Before tuning, {where}", f"After tuning, {where}")
        note = f"{method_title(method)} has no side network, so the backbone is compared before and after tuning."
        return Pair(first, second, head, titles, ("before", "after"), note=note)
    able = " or ".join(map(method_title, METHODS.names(shows="attention")))
    remark = (
        f"{method_title(method)} leaves the backbone's attention as it is and has none of its own. "
        f"Choose a run of {able} to see where a side network looks."
    )
    return Pair(first, titles=(f"Backbone, {where}", ""), remark=remark)
