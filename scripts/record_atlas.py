"""Fills assets/atlas, which the Atlas page shows: head scores of released adapters, and of runs that are trained here.

    python scripts/record_atlas.py released FOLDER          head energies of PETL-ViT's 19 Bi-LoRA files, from FOLDER
    python scripts/record_atlas.py runs [--only TEXT ...]   trains what is missing, one run after the other
    python scripts/record_atlas.py runs --dry-run           says what would be trained

A run is one file, written when the run is over, so an interrupted recording goes on where it stopped. A file whose run
was of another recipe, or of other weights of the backbone, is recorded again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app import words
from app.recordings import FOLDER
from peftcore import adapters, errors
from peftcore.backbone.load import load_backbone
from peftcore.events import Finished
from peftcore.fetch.petl_vit import SCALES
from peftcore.methods._scores import HeadScores
from peftcore.model import TunedModel
from peftcore.probes.responsiveness import head_energy
from peftcore.spec import RunSpec
from peftcore.store import recipes
from peftcore.task import embedded_tasks, task_card
from peftcore.tasks.files.vtab import KNOWN
from peftcore.train.loop import finetune

MOST_BYTES = 8_000_000  # of the whole folder
EPOCHS, SEEDS = 8, (0, 1, 2)
RECORDED = [("vit_micro", "lora"), ("vit_micro", "heart_lora"), ("swin_micro", "heart_lora")]
RELEASED = "petl-vit-bi-lora"
TITLES = {
    "cifar": "CIFAR-100", "caltech101": "Caltech101", "dtd": "DTD", "oxford_flowers102": "Flowers102",
    "oxford_iiit_pet": "Pets", "svhn": "SVHN", "sun397": "SUN397", "patch_camelyon": "Patch Camelyon",
    "eurosat": "EuroSAT", "resisc45": "RESISC45", "diabetic_retinopathy": "Retinopathy", "clevr_count": "CLEVR count",
    "clevr_dist": "CLEVR distance", "dmlab": "DMLab", "kitti": "KITTI distance", "dsprites_loc": "dSprites location",
    "dsprites_ori": "dSprites orientation", "smallnorb_azi": "smallNORB azimuth",
    "smallnorb_ele": "smallNORB elevation",
}  # fmt: skip


def short(scores: HeadScores) -> dict[str, Any]:
    """Scores as JSON with four significant digits, which is more than a picture shows."""
    return _rounded(scores.to_dict())


def _rounded(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _rounded(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_rounded(value) for value in part]
    return float(f"{part:.4g}") if isinstance(part, float) and math.isfinite(part) else part


def released(folder: Path) -> dict[str, Any]:
    """The head energies of PETL-ViT's files, which are not copied themselves."""
    entries = []
    for task, (group, *_) in KNOWN.items():
        file = f"{task}-bit1-dim32.bin"
        entries.append(
            {
                "id": f"{RELEASED}/{task}",
                "task": task,
                "title": TITLES[task],
                "group": group,
                "method": "bi_lora",
                "backbone": "vit_base_patch16_224.augreg_in21k",
                "settings": {"scale": SCALES[task], "bits": 1, "rank": 32},
                "command": f"python -m peftcore heads {file} --json",
                "scores": {"energy": short(head_energy(folder / file))},
            }
        )
    return {
        "title": "PETL-ViT's released Bi-LoRA adapters of ViT-B/16 (ImageNet-21k) for the 19 tasks of VTAB-1K",
        "source": "https://github.com/JieShibo/PETL-ViT (Jie, Wang, Deng: Revisiting the Parameter Efficiency of "
        "Adapters from the Perspective of Precision Redundancy, ICCV 2023)",
        "licence": "MIT",
        "command": "python scripts/record_atlas.py released FOLDER",
        "entries": entries,
    }


def planned(epochs: int = EPOCHS) -> Iterator[RunSpec]:
    """Every run of the atlas, one seed after the other, so that a part of them is already of use."""
    for seed, (backbone, method), task in product(SEEDS, RECORDED, embedded_tasks()):
        spec = RunSpec(backbone=backbone, method=method, task=task, epochs=epochs, seed=seed)
        yield recipes.with_recipe(spec, given=("epochs",))


def name_of(spec: RunSpec) -> str:
    """'digits-lora-vit_micro-0', the file's name and the entry's in links."""
    return f"{spec.task.replace(':', '-')}-{spec.method.name}-{spec.backbone}-{spec.seed}"


def is_recorded(file: Path, spec: RunSpec) -> bool:
    """Whether the file holds this very run, on the weights that are here now."""
    if not file.exists():
        return False
    [entry] = json.loads(file.read_text())["entries"]
    return entry["spec"] == spec.to_dict() and entry["fingerprint"] == load_backbone(spec.backbone).fingerprint


def recorded(spec: RunSpec, more: Callable[[TunedModel], dict[str, Any]] = lambda model: {}) -> dict[str, Any]:
    """Trains one run and keeps its head scores by epoch, its accuracies and its conditions, and what `more` finds."""
    history, newest, entry = [], {}, {}
    for event in finetune(spec):
        if event.kind in ("scores", "started", "finished", "heads_cut"):
            newest[event.kind] = event.to_dict()
        if event.kind == "scores":
            history.append({name: newest["scores"][name] for name in ("step", "epoch", "scores")})
        if isinstance(event, Finished) and event.blob is not None:
            model = adapters.from_bytes(event.blob)
            entry = {"fingerprint": model.fingerprint, "scores": {"energy": short(head_energy(model))}} | more(model)
    card, settings = task_card(spec.task), spec.to_dict()
    finished = {
        name: newest["finished"][name] for name in ("test_accuracy", "val_accuracy", "seconds", "selected_epoch")
    }
    return entry | {
        "id": name_of(spec),
        "task": spec.task,
        "title": card.title,
        "group": card.group,
        "method": spec.method.name,
        "backbone": spec.backbone,
        "seed": spec.seed,
        "spec": settings,
        "command": words.command(settings),
        "started": {name: newest["started"][name] for name in ("classes", "settings", "parameters", "method_kind")},
        "summary": _rounded(finished),
        "off": newest.get("heads_cut", {}).get("off"),
        "history": _rounded(history),
    }


def record_runs(folder: Path, specs: list[RunSpec], dry: bool) -> None:
    """Trains what is missing; each file is there whole or not at all."""
    for number, spec in enumerate(specs, 1):
        file = folder / f"{name_of(spec)}.json"
        if is_recorded(file, spec):
            continue
        print(f"{number} of {len(specs)}: {words.command(spec.to_dict())}", flush=True)
        if not dry:
            entry = recorded(spec)
            write(file, {"title": "Recorded with Headroom", "licence": "MIT", "entries": [entry]})
            print(f"  test accuracy {entry['summary']['test_accuracy']:.3f}", flush=True)


def write(file: Path, content: Mapping[str, Any]) -> None:
    """One JSON file of the atlas. Raises BadData: the folder would hold more than MOST_BYTES."""
    text = json.dumps(content, separators=(",", ":")) + "\n"
    others = sum(other.stat().st_size for other in file.parent.glob("*.json") if other != file)
    if others + len(text) > MOST_BYTES:
        raise errors.BadData(f"{file.name} would make the atlas larger than {MOST_BYTES / 1e6:.0f} MB.")
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(text)
    part.replace(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=FOLDER, help="the folder to fill")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("released").add_argument("folder", type=Path)
    runs = verbs.add_parser("runs")
    runs.add_argument(
        "--only", action="append", default=[], help="parts of the names of runs, such as swin or digits-lora"
    )
    runs.add_argument("--epochs", type=int, default=EPOCHS)
    runs.add_argument("--dry-run", action="store_true")
    asked = parser.parse_args()
    if asked.verb == "released":
        write(asked.into / f"{RELEASED}.json", released(asked.folder))
        return
    specs = [spec for spec in planned(asked.epochs) if all(text in name_of(spec) for text in asked.only)]
    record_runs(asked.into, specs, asked.dry_run)


if __name__ == "__main__":
    main()
