"""The command that predicts memory."""

from __future__ import annotations

from typing import Any

from peftcore.cli.options import make_spec, spec_options
from peftcore.cli.output import JSON, answer, console


@spec_options
def predict(
    json: JSON = False,
    *,
    fields: dict[str, Any],
) -> None:
    """Predict the memory of one training step, without weights, data or a GPU."""
    from peftcore.cli.image_size import note
    from peftcore.memory import predict_memory

    spec = make_spec(fields)
    if text := note(spec):
        console.print(text)
    report = predict_memory(spec)
    sizes = {name.replace("_", " "): size for name, size in report.components.items()} | {"peak": report.peak}
    rows = [{"component": name, "MB": f"{size / 1e6:,.2f}"} for name, size in sizes.items()]
    title = f"{spec.method.card.title} on {spec.backbone}, batch {spec.batch_size}"
    answer(json, {"spec": spec.to_dict(), **report.to_dict()}, title, rows)
