"""Is a run's head score stable? Over steps, seeds and images."""

from __future__ import annotations

from typing import Any

from peftcore.cli.output import answer, progress_bars

Rows = list[dict[str, str]]


def stability_of(source: str, images: int, json: bool) -> None:
    """Prints tables of one run: over the recorded steps, over runs that differ in the seed alone, and over numbers of
    images.

    Raises:
        InvalidSetting: `source` is not the number of a run.
        UnknownName, NotMeasurable: there is no such run, or it has no head scores.
    """
    from peftcore import errors
    from peftcore.bench._stability import over_images, over_seeds, over_steps, seeds_of, settled
    from peftcore.cli.subject import subject
    from peftcore.methods import make_method
    from peftcore.store import Store
    from peftcore.store.record import number_of

    if (run := number_of(source)) is None:
        raise errors.InvalidSetting(
            f"{source!r} is no run of the store, and stability is of a run: its scores by step, and its other seeds. "
            "Give the number of a run with head scores."
        )
    history, seeds = seeds_of(Store(), run)
    settings = {name: value for name, value in Store().run(run).spec["method"].items() if name != "off"}
    table = over_steps(history, make_method(**settings) if settings["name"] == "heart_lora" else None)
    value: dict[str, Any] = {"steps": table.to_dict("records"), "settled": settled(table)}
    title = f"Run {source}: the cut is settled at step {value['settled']} of {table['step'].iloc[-1]}"
    tables = [(title, _texts(value["steps"]))]
    if len(seeds) > 1:
        found = over_seeds(list(seeds.values()))
        value["seeds"] = {
            "seeds": list(seeds), "correlations": found.correlations.tolist(), "mean": found.mean, "top": found.top,
            "always": [{"layer": layer + 1, "head": head + 1} for layer, head in found.always],
        }  # fmt: skip
        always = ", ".join(f"head {head + 1} of layer {layer + 1}" for layer, head in found.always) or "none"
        title = f"Seeds: rank correlation {found.mean:.2f} on average; always among the {found.top} highest: {always}"
        rows = []
        for seed, row in zip(seeds, found.correlations, strict=True):
            rows.append({"seed": f"{seed}"} | {f"seed {o}": f"{v:.2f}" for o, v in zip(seeds, row, strict=True)})
        tables.append((title, rows))
    model, x, y = subject(source, "", images)
    with progress_bars(json) as bars:
        bar = bars.add_task("scoring heads on more and more images", total=1.0, say="")
        fewer = over_images(model, x, y, progress=lambda share: bars.update(bar, completed=share))
    value["images"] = fewer.astype(object).where(fewer.notna(), None).to_dict("records")
    tables.append(("Rank correlation of a Taylor score of so many images", _texts(fewer.to_dict("records"))))
    if json:
        answer(True, value, "", [])
    else:
        for title, rows in tables:
            answer(False, value, title, rows)


def _texts(rows: list[dict[Any, Any]]) -> Rows:
    return [{str(name): f"{value:.3g}" for name, value in row.items()} for row in rows]
