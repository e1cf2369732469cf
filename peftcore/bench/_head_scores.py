"""`python -m peftcore heads`: a score of each attention head, and whether it is stable."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from peftcore.bench._stability_tables import stability_of
from peftcore.cli.output import JSON, answer, progress_bars

STEP = 50  # images: a Taylor score is a mean over steps


def heads(
    source: Annotated[
        str,
        typer.Argument(
            help="The number of a run, a saved adapter's folder, a Hugging Face PEFT adapter, or a PETL-ViT .bin file."
        ),
    ],
    score: Annotated[
        Literal["energy", "taylor", "taylor_signed", "conductance", "distance", "entropy"],
        typer.Option(help="Energy is of the weights alone; the others need images, so a run or a saved adapter."),
    ] = "energy",
    images: Annotated[int, typer.Option(help="Validation images that are scored, the first ones.", min=1)] = 200,
    task: Annotated[str, typer.Option(help="Another task than the adapter's.")] = "",
    stability: Annotated[
        bool, typer.Option("--stability", help="Of a run: its scores over steps, over seeds and over images.")
    ] = False,
    backbone: Annotated[str | None, typer.Option(help="The backbone of an adapter that does not name its own.")] = None,
    per_block: Annotated[int | None, typer.Option("--heads", help="Or how many heads each of its blocks has.")] = None,
    scale: Annotated[float | None, typer.Option(help="The scale of a PETL-ViT file.")] = None,
    json: JSON = False,
) -> None:
    """How an adapter moves each attention head, by layer, projection and head: the norm of dW_h, or another score."""
    from peftcore.cli.subject import subject, trained
    from peftcore.probes.responsiveness import head_energy
    from peftcore.store.record import number_of

    if stability:
        stability_of(source, images, json)
        return
    if score == "energy":
        is_run = number_of(source) is not None
        scores = head_energy(trained(source)[0] if is_run else source, backbone, per_block, scale)
    else:
        with progress_bars(json) as bars:
            bar = bars.add_task(f"scoring heads: {score}", total=1.0, say="")
            scores = scored(score, *subject(source, task, images), lambda share: bars.update(bar, completed=share))
    rows = [
        {"layer": layer, "projection": p, **{f"head {h + 1}": f"{v:.4f}" for h, v in enumerate(scores.values[i, j])}}
        for i, layer in enumerate(scores.layers)
        for j, p in enumerate(scores.projections)
    ]
    what = "||dW||" if score == "energy" else score
    answer(json, scores.to_dict(), f"{what} by head: {source}", rows)


def scored(score: str, model: Any, x: Any, y: Any, progress: Any = None) -> Any:
    """HeadScores of a tuned model by any of the scores above, on images (B, 3, H, W) and labels (B,)."""
    from peftcore.bench._opinions import attention_traits, head_conductance
    from peftcore.probes.responsiveness import head_scores

    if score == "conductance":
        return head_conductance(model, x, y, progress=progress)
    if score in ("distance", "entropy"):
        return attention_traits(model, x, progress)[score == "entropy"]
    return head_scores(model, x.split(STEP), y.split(STEP), score)  # type: ignore[arg-type]
