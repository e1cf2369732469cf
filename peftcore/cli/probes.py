"""Commands that measure what an adapter did."""

from __future__ import annotations

from typing import Annotated

import typer

from peftcore.cli.output import JSON, answer


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
