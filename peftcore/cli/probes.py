"""Commands that measure what an adapter did."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from peftcore.cli.output import JSON, answer, progress_bars


def heads(
    source: Annotated[
        str, typer.Argument(help="A saved adapter's folder, a Hugging Face PEFT adapter, or a PETL-ViT .bin file.")
    ],
    backbone: Annotated[str | None, typer.Option(help="The backbone of an adapter that does not name its own.")] = None,
    per_block: Annotated[int | None, typer.Option("--heads", help="Or how many heads each of its blocks has.")] = None,
    scale: Annotated[float | None, typer.Option(help="The scale of a PETL-ViT file.")] = None,
    json: JSON = False,
) -> None:
    """How strongly an adapter moves each attention head: the norm of dW_h by layer, projection and head."""
    from peftcore.probes.responsiveness import head_energy

    scores = head_energy(source, backbone, per_block, scale)
    rows = [
        {"layer": layer, "projection": p, **{f"head {h + 1}": f"{v:.4f}" for h, v in enumerate(scores.values[i, j])}}
        for i, layer in enumerate(scores.layers)
        for j, p in enumerate(scores.projections)
    ]
    answer(json, scores.to_dict(), f"||dW|| by head: {source}", rows)


def effects(
    source: Annotated[str, typer.Argument(help="The number of a run, or the folder of a saved adapter.")],
    of: Annotated[
        Literal["update", "head", "mean"],
        typer.Option(help="Left out: its update, or its output, which is then zero or its mean."),
    ] = "update",
    images: Annotated[int, typer.Option(help="Validation images, the first ones.", min=1)] = 200,
    task: Annotated[str, typer.Option(help="Another task than the adapter's.")] = "",
    json: JSON = False,
) -> None:
    """Switch each head off by itself, and measure how loss and accuracy change."""
    import numpy as np

    from peftcore.cli.subject import subject
    from peftcore.probes.effects import head_effects

    model, x, y = subject(source, task, images)
    with progress_bars(json) as bars:
        bar = bars.add_task("switching heads off", total=1.0, say="")
        found = head_effects(model, x, y, of, lambda share: bars.update(bar, completed=share))
    grids = {k: np.where(np.isnan(v := getattr(found, k)), np.array(None), v).tolist() for k in ("loss", "accuracy")}
    rows = [
        {"layer": layer, "projection": p, **{f"head {h + 1}": f"{v:+.4f}" for h, v in enumerate(found.loss[i, j])}}
        for i, layer in enumerate(found.layers)
        for j, p in enumerate(found.projections)
    ]
    answer(json, vars(found) | grids, f"Change of the loss ({found.before[0]:.4f}) without each head's {of}", rows)
