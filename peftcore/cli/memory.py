"""The command that predicts memory."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from peftcore.cli.options import make_spec, spec_options
from peftcore.cli.output import JSON, answer


@spec_options
def predict(
    json: JSON = False,
    image_size: Annotated[int | None, typer.Option(help="Pixels; the backbone's own where not given.")] = None,
    *,
    fields: dict[str, Any],
) -> None:
    """Predict the memory of one training step, without weights, data or a GPU."""
    from peftcore.memory import predict_memory

    spec = make_spec(fields)
    report = predict_memory(spec, image_size=image_size)
    sizes = {name.replace("_", " "): size for name, size in report.components.items()} | {"peak": report.peak}
    rows = [{"component": name, "MB": f"{size / 1e6:,.2f}"} for name, size in sizes.items()]
    title = f"{spec.method.card.title} on {spec.backbone}, batch {spec.batch_size}"
    answer(json, {"spec": spec.to_dict(), **report.to_dict()}, title, rows)
