"""Commands that measure what an adapter did; `heads` is in peftcore/bench."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from peftcore.cli.output import JSON, answer, progress_bars


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


def attribute(
    source: Annotated[str, typer.Argument(help="The number of a run, or the folder of a saved adapter.")],
    image: Annotated[int, typer.Option(help="The number of a test image, from 0.", min=0)] = 0,
    by: Annotated[
        Literal["integrated_gradients", "gradcam", "occlusion", "rollout"], typer.Option(help="The method.")
    ] = "integrated_gradients",
    target: Annotated[str, typer.Option(help="'predicted', 'true', or a class by its name or number.")] = "predicted",
    layer: Annotated[int | None, typer.Option(help="Grad-CAM's layer, from 1; the last that patches reach.")] = None,
    steps: Annotated[int, typer.Option(help="Of integrated gradients.", min=1)] = 50,
    task: Annotated[str, typer.Option(help="Another task than the adapter's.")] = "",
    json: JSON = False,
) -> None:
    """Why this class? Which patches of a test image speak for a class, and which against it."""
    import torch.nn.functional as F

    from peftcore import errors
    from peftcore.cli.subject import pictures, trained
    from peftcore.probes.attribution import attribute as probe

    model, spec = trained(source, task)
    x, y, data = pictures(model, spec, slice(image, image + 1), "test")
    if not len(x):
        raise errors.BadData(f"{spec.task} has test images 0 to {len(data.test) - 1}; there is no image {image}.")
    classes = list(map(str, data.classes))
    wanted = {"predicted": None, "true": int(y[0])}
    if target not in wanted:
        if target not in classes and not target.isdecimal():
            raise errors.unknown("class", target, [*wanted, *classes])
        wanted[target] = classes.index(target) if target in classes else int(target)
    found = probe(model, x, wanted[target], by, None if layer is None else layer - 1, steps)
    patches = F.adaptive_avg_pool2d(found.maps[:, None], model.backbone.grid)[0, 0].tolist()
    name, delta = classes[int(found.target[0])], None if found.delta is None else float(found.delta[0])
    value = {
        "image": image, "true": classes[int(y[0])], "target": name, "by": by, "delta": delta,
        "layer": None if found.layer is None else found.layer + 1, "map": found.maps[0].tolist(), "patches": patches,
    }  # fmt: skip
    rows = [{"row": r + 1, **{f"{c + 1}": f"{v:+.3g}" for c, v in enumerate(row)}} for r, row in enumerate(patches)]
    missed = "" if delta is None else f"; its sum misses the logit's difference by {delta:+.2g}"
    answer(json, value, f"{by} of {name!r} on test image {image}, mean of each patch{missed}", rows)
