"""card.md: what to know about an embedded backbone, from card.json and config.json alone."""

from __future__ import annotations

ROWS = (
    ("class", "object class (24)", "share of pictures right"),
    ("hue", "hue (8)", "share of pictures right"),
    ("kind", "texture (7)", "share of pictures right"),
    ("row", "row of the centre (8)", "share of pictures right"),
    ("column", "column of the centre (8)", "share of pictures right"),
    ("heading_degrees", "heading of the largest object", "median error in degrees"),
    ("quarters_error", "centres per quarter", "mean error in objects"),
    ("patch_class", "object class of a covered patch (24)", "share of patches right"),
    ("patch_kind", "texture of a patch (7)", "share of patches right"),
    ("patch_hue", "hue of a covered patch (8)", "share of patches right"),
    ("centre_f1", "a centre lies in the patch", "F1"),
    ("stripes_degrees", "direction of stripes", "median error in degrees"),
)


def _continued(training: dict) -> list[str]:
    """The row that says from which weights the schedule went on, where it did."""
    if not (before := training.get("before")):
        return []
    recipe = before["recipe"]
    return [
        f"| continued | that recipe, from the weights after {before['images']:,} pictures with a new reader; "
        f"those came from Muon at {recipe['muon_lr']}, AdamW at {recipe['lr']} |"
    ]


def render(card: dict, config: dict) -> str:
    """Markdown. Tables of what has not been measured yet are left out."""
    lines = [f"# {config['title']}", "", config["data"], ""]
    if training := card.get("training"):
        recipe = training["recipe"]
        speed = training["images"] / max(1, training["seconds"])
        state = "finished" if training["finished"] else f"stopped early, of {recipe['horizon']:,} planned"
        optimiser = f"AdamW at {recipe['lr']}"
        if recipe["optimizer"] == "muon":
            optimiser = f"Muon at {recipe['muon_lr']} for the blocks' matrices, {optimiser} for the rest"
        lines += [
            "| fact | value |",
            "|---|---|",
            f"| parameters | {training['parameters']:,} |",
            f"| pictures seen | {training['images']:,} ({state}) |",
            f"| steps | {training['steps']:,} of {recipe['batch_size']} pictures |",
            f"| seed | {training['seed']} |",
            f"| training time | {training['seconds'] / 60:.0f} minutes, {speed:.0f} pictures/s |",
            f"| machine | {training['machine']}; torch {training['torch']} |",
            f"| recipe | {optimiser}; weight decay {recipe['weight_decay']}; "
            "3 % warm-up, cosine to 1 %; averaged weights |",
            *_continued(training),
            f"| curriculum | easy until {recipe['easy_until']:,} pictures, all levels from {recipe['hard_from']:,} |",
            "| start | timm's `jax` initialisation, cosine-basis patches, sine-cosine positions, mimetic attention |",
            "",
        ]
    if probes := card.get("probes"):
        lines += [
            "## Linear probes",
            "",
            "Test accuracy of a logistic regression on the pooled features of the frozen backbone. The twin",
            "has the same architecture and timm's random start (mean of three seeds). Neither has seen a",
            "picture of these tasks.",
            "",
            "| task | pretrained | random twin | chance |",
            "|---|---|---|---|",
        ]
        lines += [f"| {k} | {v['accuracy']:.3f} | {v['twin']:.3f} | {v['chance']:.3f} |" for k, v in probes.items()]
        lines.append("")
    lines += [
        "The recipes measured for each method on it, which Launch proposes: [Recipes](../../../docs/recipes.md).",
        "",
    ]
    if training:
        row = training["held_out"]
        lines += [
            "## On held-out drawn pictures",
            "",
            "| label | easy | hard | unit |",
            "|---|---|---|---|",
        ]
        lines += [f"| {text} | {row[f'easy_{k}']:.3g} | {row[f'hard_{k}']:.3g} | {unit} |" for k, text, unit in ROWS]
        lines += ["", "All rows over time: [curve.csv](curve.csv).", ""]
    if notes := card.get("notes"):
        lines += ["## Notes", "", *(f"- {note}" for note in notes), ""]
    lines += [
        "## Make it again",
        "",
        "```",
        f"python scripts/pretrain.py train {config['name']} --help",
        f"python scripts/pretrain.py probe {config['name']}",
        "```",
        "",
    ]
    return "\n".join(lines)
