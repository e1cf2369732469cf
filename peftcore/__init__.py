"""peftcore: parameter-efficient fine-tuning of vision transformers, and a look at what it did.

`import peftcore as pc` is instant: each public name imports its module (and torch) when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

from peftcore.backbone.embedded import register as _register
from peftcore.backbone.torchvision_guard import after_import, guard_torchvision

guard_torchvision()
after_import("timm", _register)

__version__ = "0.1.0"

_HOME = {
    "RunSpec": "spec",
    "Backbone": "backbone",
    "load_backbone": "backbone",
    "backbones": "backbone",
    "Method": "methods",
    "make_method": "methods",
    "methods": "methods",
    "Task": "task",
    "load_task": "task",
    "tasks": "tasks",
    "TunedModel": "model",
    "attach": "model",
    "MemoryReport": "memory",
    "predict_memory": "memory",
    "measure_step": "memory",
    "finetune": "train",
    "run": "train",
    "race": "train.race",
    "Result": "train",
    "merge": "adapters",
    "save_adapter": "adapters",
    "load_adapter": "adapters",
    "save_merged": "adapters",
    "export_peft": "adapters",
    "import_peft": "adapters",
    "HeadScores": "probes.responsiveness",
    "head_scores": "probes.responsiveness",
    "head_energy": "probes.responsiveness",
    "attention_maps": "probes.attention",
    "side_attention": "probes.attention",
}

_MODULES = (
    "errors",
    "events",
    "registry",
    "store",
    "engine",
    "figures",
    "features",
    "probes",
    "adapters",
    "train",
    "memory",
    "uploads",
    "backbone",
)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        module = importlib.import_module(f".{_HOME[name]}", __name__)
        value = module if _HOME[name] == name else getattr(module, name)  # methods and tasks are packages that list
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, *_MODULES])
