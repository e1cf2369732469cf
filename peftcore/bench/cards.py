"""What the method cards show: each method's text, what it trains, and what a step keeps in one block and in all.

assets/cards.json holds it, so that a card opens without torch; a method that is not there is looked at when its card is
opened.
"""

from __future__ import annotations

import json as json_
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from peftcore import errors
from peftcore.cli.output import JSON, answer
from peftcore.registry import METHODS

FILE = Path(__file__).resolve().parents[2] / "assets" / "cards.json"
BACKBONE, BATCH, CLASSES = "vit_base_patch16_224", 32, 100
BLOCK = 6  # of 12, from 0
# The parts of a block in the order in which tokens pass them, and what each is called.
PARTS = {
    "norm1": "norm", "attn.qkv": "q, k, v", "attn": "attention", "attn.proj": "output projection", "norm2": "norm",
    "mlp.fc1": "first MLP layer", "mlp.act": "GELU", "mlp.fc2": "second MLP layer",
}  # fmt: skip
WITHOUT_WEIGHTS = ("attn", "mlp.act")
_FUSED = re.compile(r"^attn\.([qkv])(?=\.|$)")  # one slice of the fused layer


def facts(name: str) -> dict[str, Any]:
    """A method's card with its defaults on ViT-B/16: text, counts, bytes of a step, and the rows of one block.

    rows: {"part", "title", "frozen" (weights of the backbone there), "trained", "kept" (bytes for backward)}, in the
    order in which tokens pass; parts that a method adds stand before what they feed, or after what they read.
    """
    from peftcore.memory.predict import attach_without_weights, predict_memory
    from peftcore.spec import RunSpec

    method = METHODS.load(name).METHOD
    spec = RunSpec(
        backbone=BACKBONE, pretrained=False, method=name, batch_size=BATCH, device="cpu", cache_features=False
    )
    report, model = predict_memory(spec, num_classes=CLASSES), attach_without_weights(spec, CLASSES)
    trained = {path: p.numel() for path, p in model.tuner.named_parameters() if p.requires_grad}
    weights = model.backbone.module.named_parameters()
    frozen = {path: p.numel() for path, p in weights if path not in trained and not p.requires_grad}
    kept = [(row["module"], row["bytes"]) for row in report.activations]
    return {
        "card": asdict(method.card),
        "settings": spec.method.settings(),
        "parameters": model.parameter_counts(),
        "components": report.components,
        "peak": report.peak,
        "expected": counted(method.card.counts, spec.method.settings()),
        "rows": _rows(_of_block(trained.items()), _of_block(frozen.items()), _of_block(kept)),
    }


def counted(expression: str, settings: dict[str, Any]) -> int | None:
    """Trained weights on ViT-B/16 by a card's formula; a list counts as its length. None where it has none.

    Raises:
        InvalidSetting: it is no formula of d, L, N, P and the method's settings.
    """
    if not expression:
        return None
    values = {name: len(value) if isinstance(value, list) else value for name, value in settings.items()}
    names = {"d": 768, "L": 12, "N": 197, "P": 16, **values}
    try:
        return int(eval(expression, {"__builtins__": {}}, names))  # a docstring of ours
    except Exception as error:
        raise errors.InvalidSetting(
            f"Counts: {expression} cannot be computed ({error}); a card's formula is one of {', '.join(names)}."
        ) from None


def _of_block(pairs: Any) -> dict[str, int]:
    """Sums by what stands after 'blocks.6.', or after the name of a list of which this is the seventh: 'prompts.6'."""
    found: dict[str, int] = {}
    for path, number in pairs:
        if match := re.match(rf"(blocks|prompts)\.{BLOCK}(?:\.(.+)|$)", path):
            place = _FUSED.sub("attn.qkv", match[2] or "") if match[1] == "blocks" else match[1]
            found[place] = found.get(place, 0) + number
    return found


def _rows(trained: dict[str, int], frozen: dict[str, int], kept: dict[str, int]) -> list[dict[str, Any]]:
    order = list(PARTS)
    for path in [*kept, *trained]:
        if (part := _part(path)) not in order:  # it is not the backbone's
            parent = part.rpartition(".")[0]
            inside = [name for name in PARTS if name.startswith(parent)] if parent else list(PARTS)
            after = part in map(_part, kept)  # it keeps what it reads, so it comes after that
            order.insert(order.index(inside[-1]) + 1 if after else order.index(inside[0]), part)
    return [
        {
            "part": part,
            "title": PARTS.get(part) or part.rpartition(".")[2],
            "frozen": sum(n for path, n in frozen.items() if _part(path) == part),
            "trained": sum(n for path, n in trained.items() if _part(path) == part),
            "kept": sum(n for path, n in kept.items() if _part(path) == part),
        }
        for part in order
    ]


def _part(path: str) -> str:
    """The part of a block that a tensor or a module belongs to: the longest name of PARTS that it begins with, or the
    first name that is not one of the backbone's."""
    inside = [name for name in PARTS if path == name or path.startswith(f"{name}.")]
    longest = max(inside, key=len, default="")
    rest = path[len(longest) :].strip(".").split(".")
    leaf = rest[0] in ("weight", "bias", "scale", "shift", "") or rest[0].startswith("lora_")
    if leaf or (longest and longest not in WITHOUT_WEIGHTS):
        return longest
    head = longest or (rest.pop(0) if rest[0] in ("mlp", "attn") else "")
    return ".".join(filter(None, (head, rest[0])))


def recorded() -> dict[str, Any]:
    """The contents of assets/cards.json: `command`, `methods`."""
    return json_.loads(FILE.read_text())


def command(
    methods: Annotated[str, typer.Option(help="Names, comma-separated; all where empty.")] = "",
    write: Annotated[bool, typer.Option("--write", help="Write assets/cards.json.")] = False,
    json: JSON = False,
) -> None:
    """What each method's card shows: weights, bytes and one block of ViT-B/16, by the ledger."""
    names = [name for name in methods.split(",") if name] or list(METHODS.names())
    found = {name: facts(name) for name in names}
    if write:
        kept = recorded()["methods"] if methods else {}  # of some methods: the others' cards stay
        made = {"command": "python -m peftcore bench cards --write", "methods": kept | found}
        FILE.write_text(json_.dumps(made) + "\n")
    rows = [
        {
            "method": name,
            "trains": f"{one['parameters']['method']:,}",
            "by formula": "" if one["expected"] is None else f"{one['expected']:,}",
            "MB in one block": f"{sum(row['kept'] for row in one['rows']) / 1e6:.1f}",
            "peak MB": f"{one['peak'] / 1e6:,.0f}",
        }
        for name, one in found.items()
    ]
    answer(json, found, f"Cards: {BACKBONE}, batch {BATCH}", rows)
