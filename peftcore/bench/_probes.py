"""Commands that measure what an adapter did: `effects`, `attribute` and `lens`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from peftcore.cli.output import JSON, answer, progress_bars

ORDERS = {"least": "least responsive first", "most": "most responsive first", "random": "random, mean of draws"}


def effects(
    source: Annotated[str, typer.Argument(help="The number of a run, or the folder of a saved adapter.")],
    of: Annotated[
        Literal["update", "head", "mean"],
        typer.Option(help="Left out: its update, or its output, which is then zero or its mean."),
    ] = "update",
    images: Annotated[int, typer.Option(help="Validation images, the first ones.", min=1)] = 200,
    task: Annotated[str, typer.Option(help="Another task than the adapter's.")] = "",
    order: Annotated[
        Literal["", "training", "energy", "taylor", "taylor_signed", "conductance", "distance", "entropy"],
        typer.Option(help="More and more heads off together, by this score; 'training': what a run's training scored."),
    ] = "",
    json: JSON = False,
) -> None:
    """Switch each head off by itself, or more and more together, and measure how loss and accuracy change."""
    import numpy as np

    from peftcore.cli.subject import subject
    from peftcore.probes.effects import head_effects

    model, x, y = subject(source, task, images)
    if order:
        _deletion(source, model, x, y, of, order, json)
        return
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


def _deletion(source: str, model: Any, x: Any, y: Any, of: Any, order: Any, json: bool) -> None:
    """The curves of `effects --order`: a row for each number of heads that are off, a column for each order."""
    from peftcore.bench._deletion import head_deletion

    scores = _ordered_by(source, model, x, y, order)
    with progress_bars(json) as bars:
        bar = bars.add_task("switching more and more heads off", total=1.0, say="")
        table = head_deletion(model, x, y, scores, of, progress=lambda share: bars.update(bar, completed=share))
    means = table.groupby(["off", "order"])["loss"].mean().unstack()[list(ORDERS)]
    rows = [
        {"off": f"{off}", **{ORDERS[name]: f"{loss:.4f}" for name, loss in row.items()}}
        for off, row in means.iterrows()
    ]
    answer(json, table.to_dict("records"), f"Loss while more and more heads are off, by {order}: {source}", rows)


def _ordered_by(source: str, model: Any, x: Any, y: Any, order: str) -> Any:
    """HeadScores to order heads by. Raises NotMeasurable: training kept none."""
    from peftcore import errors
    from peftcore.bench._head_scores import scored
    from peftcore.methods._scores import HeadScores
    from peftcore.store import Store
    from peftcore.store.record import number_of

    if order != "training":
        return scored(order, model, x, y)
    run = number_of(source)
    event = None if run is None else Store().last_event(run, "scores")
    if event is None:
        raise errors.NotMeasurable(
            f"Training kept no head scores of {source!r}; give a run of the store, or another order."
        )
    return HeadScores.from_dict(event["scores"])


def lens(
    source: Annotated[str, typer.Argument(help="The number of a run, or the folder of a saved adapter.")],
    image: Annotated[int, typer.Option(help="The number of a test image, from 0.", min=0)] = 0,
    task: Annotated[str, typer.Option(help="Another task than the adapter's.")] = "",
    json: JSON = False,
) -> None:
    """What the classifier would say of a test image after every layer, if the backbone ended there."""
    from peftcore.bench._lens import layer_lens

    model, x, true, classes = _test_image(source, task, image)
    said = layer_lens(model, x)[:, 0].softmax(-1)  # (depth + 1, classes)
    value = {
        "image": image, "true": classes[true], "classes": classes,
        "layers": ["input", *(block.path for block in model.backbone.blocks)], "probabilities": said.tolist(),
    }  # fmt: skip
    rows = []
    for layer, probabilities in zip(value["layers"], said, strict=True):
        best = [
            (classes[int(place)], float(probabilities[place])) for place in probabilities.argsort(descending=True)[:3]
        ]
        text = ", ".join(f"{name} {share:.2f}" for name, share in best)
        rows.append({"after": layer, "true class": f"{float(probabilities[true]):.2f}", "likeliest": text})
    answer(json, value, f"What the classifier would say of test image {image}, {classes[true]!r}", rows)


def _test_image(source: str, task: str, image: int) -> tuple[Any, Any, int, list[str]]:
    """A trained model, one test image as it reads it (1, 3, H, W), the number of its class, and the classes' names.

    Raises BadData: there is no such image; and as `pictures`.
    """
    from peftcore import errors
    from peftcore.cli.subject import pictures, trained

    model, spec = trained(source, task)
    x, y, data = pictures(model, spec, slice(image, image + 1), "test")
    if not len(x):
        raise errors.BadData(f"{spec.task} has test images 0 to {len(data.test) - 1}; there is no image {image}.")
    return model, x, int(y[0]), list(map(str, data.classes))


def attribute(
    source: Annotated[str, typer.Argument(help="The number of a run, or the folder of a saved adapter.")],
    image: Annotated[int, typer.Option(help="The number of a test image, from 0.", min=0)] = 0,
    by: Annotated[
        Literal["integrated_gradients", "gradcam", "occlusion", "rollout"], typer.Option(help="The method.")
    ] = "integrated_gradients",
    target: Annotated[str, typer.Option(help="'predicted', 'true', or a class by its name or number.")] = "predicted",
    layer: Annotated[
        int | None, typer.Option(min=1, help="Grad-CAM's layer, from 1; the last that patches reach.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Of integrated gradients.", min=1)] = 50,
    task: Annotated[str, typer.Option(help="Another task than the adapter's.")] = "",
    json: JSON = False,
) -> None:
    """Why this class? Which patches of a test image speak for a class, and which against it."""
    import torch.nn.functional as F

    from peftcore import errors
    from peftcore.probes.attribution import attribute as probe

    model, x, true, classes = _test_image(source, task, image)
    if layer is not None and layer > (depth := model.backbone.depth):
        raise errors.NotMeasurable(f"{model.backbone.name} has layers 1 to {depth}; there is no layer {layer}.")
    wanted = {"predicted": None, "true": true}
    if target not in wanted:
        if target not in classes and not target.isdecimal():
            raise errors.unknown("class", target, [*wanted, *classes])
        wanted[target] = classes.index(target) if target in classes else int(target)
    found = probe(model, x, wanted[target], by, None if layer is None else layer - 1, steps)
    patches = F.adaptive_avg_pool2d(found.maps[:, None], model.backbone.grid)[0, 0].tolist()
    name, delta = classes[int(found.target[0])], None if found.delta is None else float(found.delta[0])
    value = {
        "image": image, "true": classes[true], "target": name, "by": by, "delta": delta,
        "layer": None if found.layer is None else found.layer + 1, "map": found.maps[0].tolist(), "patches": patches,
    }  # fmt: skip
    rows = [{"row": r + 1, **{f"{c + 1}": f"{v:+.3g}" for c, v in enumerate(row)}} for r, row in enumerate(patches)]
    missed = "" if delta is None else f"; its sum misses the logit's difference by {delta:+.2g}"
    answer(json, value, f"{by} of {name!r} on test image {image}, mean of each patch{missed}", rows)
