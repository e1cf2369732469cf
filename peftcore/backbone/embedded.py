"""The backbones that travel with Headroom: small timm models pretrained on pictures that it draws itself.

Each is a folder of `assets/backbones`: `config.json` (timm class, arguments, preprocessing),
`model.safetensors`, `card.json` and `card.md` (data, seed, steps, probes), `curve.csv`. A new folder is a new
backbone. Reading names and cards imports no torch; only `register()` touches timm.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from peftcore.errors import WeightsUnavailable, unknown

_registering = Lock()
BACKBONES = Path(__file__).resolve().parents[2] / "assets" / "backbones"


def names() -> tuple[str, ...]:
    """Names of the embedded backbones, sorted."""
    return tuple(sorted(path.parent.name for path in BACKBONES.glob("*/config.json")))


def folder(name: str) -> Path:
    """The backbone's folder. Raises UnknownName."""
    if name not in names():
        raise unknown("embedded backbone", name, names())
    return BACKBONES / name


def config(name: str) -> dict[str, Any]:
    """config.json: name, title, architecture (in timm.models), arguments, input_size, mean, std and more."""
    return {"name": name} | json.loads((folder(name) / "config.json").read_text())


def card(name: str) -> dict[str, Any]:
    """config.json and card.json as one dict.

    title, data, training (images, steps, seed, seconds, machine, parameters, held_out) and probes
    ({task: {"accuracy", "twin", "chance"}}). What was not measured yet is absent. Raises UnknownName.
    """
    path = folder(name) / "card.json"
    return config(name) | (json.loads(path.read_text()) if path.exists() else {})


def weights(name: str) -> Path:
    """The weights file. Raises WeightsUnavailable when it is missing."""
    path = folder(name) / "model.safetensors"
    if not path.exists():
        raise WeightsUnavailable(
            f"The weights of '{name}' are missing at {path}: restore the file from the repository, "
            f"make it with `python scripts/pretrain.py train {name}`, or use pretrained=False."
        )
    return path


def earlier(name: str, fingerprint: str) -> str | None:
    """The file of the weights with this fingerprint that `name` had before today's; what was trained on them opens."""
    path = BACKBONES / name / "earlier" / f"{fingerprint}.safetensors"
    return str(path) if path.exists() else None


@cache
def register() -> tuple[str, ...]:
    """Make `timm.create_model(name, pretrained=...)` know the embedded backbones; once per process."""
    import timm

    with _registering:  # a cache alone lets two first callers in
        for name in set(names()) - set(timm.list_models()):
            timm.models.register_model(_entrypoint(name))
    return names()


def _entrypoint(name: str) -> Callable[..., Any]:
    """A timm entry point: timm's own class and random start, weights from the assets when pretrained."""

    def build(pretrained: bool = False, **arguments: Any) -> Any:
        import timm

        settings = config(name)
        arguments.pop("pretrained_cfg", None)  # timm passes it; ours comes from config.json
        cfg: dict[str, Any] = {key: tuple(settings[key]) for key in ("input_size", "mean", "std")}
        cfg |= {key: settings[key] for key in ("interpolation", "classifier")} | {"first_conv": "patch_embed.proj"}
        cfg |= {"architecture": name, "num_classes": 0, "crop_pct": 1.0, "fixed_input_size": True}
        cfg |= {"file": str(weights(name))} if pretrained else {}
        cfg |= arguments.pop("pretrained_cfg_overlay", None) or {}
        cls = getattr(timm.models, settings["architecture"])
        wanted = {"num_classes": 0} | settings["arguments"] | arguments
        resized = sys.modules[cls.__module__].checkpoint_filter_fn  # timm's own: positions for another img_size
        return timm.models.build_model_with_cfg(
            cls, name, pretrained, pretrained_cfg=cfg, pretrained_strict=True, pretrained_filter_fn=resized, **wanted
        )

    build.__name__ = build.__qualname__ = name
    build.__module__ = __name__
    return build
