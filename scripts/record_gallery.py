"""Trains the examples that come with Headroom and writes them to assets/gallery. Run it again when a backbone's weights
change, since an adapter belongs to the weights it was trained on.

    python scripts/record_gallery.py [NAME ...]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app import words
from peftcore import events
from peftcore.spec import RunSpec
from peftcore.store import gallery, recipes, results
from peftcore.train.loop import finetune

RUNS = {
    "lora-digits": RunSpec(method="lora", task="digits"),
    "last-digits": RunSpec(method="last", task="digits"),
    "serial-digits": RunSpec(method="serial_lora", task="digits"),
    "heart-digits": RunSpec(method="heart_lora", task="digits"),
    "heart-orientation": RunSpec(backbone="swin_micro", method="heart_lora", task="orientation"),
}
EXAMPLES = {name: recipes.with_recipe(spec) for name, spec in RUNS.items()}  # each with what is known to work best
KEPT = ("started", "step", "step_memory", "evaluation", "scores", "heads_cut", "finished")  # events that the pages read
SUMMARY = ("test_accuracy", "val_accuracy", "seconds", "memory")


def record(name: str) -> float:
    """Trains one example and writes its folder; returns its test accuracy."""
    folder = gallery.FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    spec, kept = EXAMPLES[name], []
    for event in finetune(spec):
        if event.kind in KEPT:
            kept.append(event.to_dict())
        if isinstance(event, events.Finished) and event.blob and event.predictions:
            (folder / "adapter.safetensors").write_bytes(event.blob)
            (folder / "predictions.npz").write_bytes(results.pack(event.predictions))
    settings = spec.to_dict()
    example = {
        "title": words.run_title(settings),
        "command": words.command(settings),
        "spec": settings,
        "summary": {key: kept[-1][key] for key in SUMMARY},
        "events": kept,
    }
    (folder / "run.json").write_text(json.dumps(example, separators=(",", ":")) + "\n")
    return kept[-1]["test_accuracy"]


if __name__ == "__main__":
    for name in sys.argv[1:] or EXAMPLES:
        print(f"{name}: test accuracy {record(name):.3f}", flush=True)
