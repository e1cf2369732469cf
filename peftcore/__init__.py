"""peftcore: parameter-efficient fine-tuning of vision transformers, and a look at what it did.

`import peftcore as pc` is instant: each public name imports its module (and torch) when it is first used.
"""

from __future__ import annotations

from typing import Any

from peftcore.backbone.embedded import register as _register
from peftcore.backbone.torchvision_guard import after_import, guard_torchvision
from peftcore.registry import lazily

guard_torchvision()
after_import("timm", _register)

__version__ = "0.1.0"

_NAMES = {
    "spec": "RunSpec",
    "backbone": "backbone Backbone load_backbone backbones",
    "methods": "methods Method make_method",
    "task": "Task load_task",
    "tasks": "tasks",
    "model": "TunedModel attach",
    "memory": "memory MemoryReport predict_memory",
    "bench._measure": "measure_step",
    "train": "train finetune run Result",
    "train.race": "race",
    "adapters": "adapters merge save_adapter load_adapter save_merged",
    "fetch.peft_export": "export_peft",
    "fetch.peft_import": "import_peft",
    "store.results": "results Results",
    "store.recipes": "with_recipe",
    "store.comparison": "comparison Comparison",
    "store.leaderboard": "leaderboard Leaderboard",
    "cli.exports": "export",
    "probes.responsiveness": "HeadScores head_scores head_energy",
    "probes.attention": "attention_maps attention_flow side_attention",
    "probes.effects": "HeadEffects head_effects",
    "probes.attribution": "Attribution attribute",
    "bench._deletion": "head_deletion",
    "bench._lens": "layer_lens",
    "bench._opinions": "head_conductance attention_traits",
} | dict.fromkeys(("errors", "events", "registry", "store", "engine", "figures", "features", "probes", "uploads"), "")
_find = lazily(__name__, _NAMES)


def __getattr__(name: str) -> Any:
    value = globals()[name] = _find(name)  # methods and tasks are packages that list what they hold when called
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *" ".join(f"{names or module}" for module, names in _NAMES.items()).split()})
