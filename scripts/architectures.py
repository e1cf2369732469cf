"""Which of timm's architectures Headroom takes, and why it refuses the others: every name is tried.

    python scripts/architectures.py            # writes docs/architectures.md

Outcomes are kept (--keep) and not tried again with the same timm and Headroom; remove that file to start over.

Every architecture is built without weights on the meta device, and one image without data runs through it: its blocks,
tokens and pooling are what its anatomy says, or it is refused with the sentence that a user would read. Of those taken,
the smallest of each kind of module also runs on data, with two blocks: the last block's tokens, normed and pooled, are
then the backbone's features to rounding, and the attention rows of its first and last block sum to 1, or a probe says
that it has no attention map.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import torch

import peftcore as pc  # before timm: it lets torchvision be imported beside another torch
from peftcore import errors
from peftcore.home import home

import timm  # isort: skip
from timm.models._registry import _model_to_module  # isort: skip

PAGE = Path(__file__).parent.parent / "docs" / "architectures.md"
FIRST, LAST = 0, -1


def families() -> dict[str, list[str]]:
    """Names of timm's architectures by the file that defines them, without the embedded backbones."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in timm.list_models():
        if (family := _model_to_module[name]) != "embedded":
            found[family].append(name)
    return dict(sorted(found.items()))


def kind(backbone: pc.Backbone) -> str:
    """What its modules are made of: architectures of one kind differ only in size."""
    module = backbone.module
    parts = {type(m).__name__ for m in module.modules()}
    flags = [
        getattr(module, name, None) for name in ("global_pool", "no_embed_class", "has_class_token", "num_reg_tokens")
    ]
    tokens = [
        name for name in ("cls_token", "reg_token", "pos_embed", "rope") if getattr(module, name, None) is not None
    ]
    return " ".join([type(module).__name__, *sorted(parts), *map(str, flags), *tokens, str(backbone.prefix_tokens)])


def on_meta(name: str) -> dict[str, Any]:
    """Whether it is taken, judging by its layers."""
    try:
        backbone = pc.load_backbone(name, pretrained=False, device="meta")
    except errors.HeadroomError as refusal:
        return {"name": name, "refusal": str(refusal)}
    return {"name": name, "refusal": None, "kind": kind(backbone), "parameters": backbone.parameter_count()}


def on_data(name: str) -> dict[str, Any]:
    """Whether it is taken judging by its values too, with few blocks, and what a probe of its attention says."""
    stages = pc.load_backbone(name, pretrained=False, device="meta").stages
    fewer: dict[str, Any] = {"depth": 2} if len(stages) == 1 else {"depths": (2,) * len(stages)}
    try:
        try:
            backbone = pc.load_backbone(name, pretrained=False, **fewer)
        except errors.InvalidSetting:  # its blocks are listed one by one
            backbone = pc.load_backbone(name, pretrained=False)
    except errors.HeadroomError as refusal:
        return {"name": name, "refusal": str(refusal)}
    image = torch.randn(1, *backbone.input_size, generator=torch.Generator().manual_seed(0))
    try:
        off = max((pc.attention_maps(backbone, image, layer).sum(-1) - 1).abs().max().item() for layer in (FIRST, LAST))
    except errors.NotMeasurable as refusal:
        return {"name": name, "refusal": None, "attention": str(refusal)}
    assert off < 1e-3, f"{name}: rows of attention are off by {off}"
    return {"name": name, "refusal": None, "attention": None}


def tried(keep: Path) -> list[dict[str, Any]]:
    """All outcomes: the kept ones, and the others, each kept as soon as it is known."""
    versions = {"timm": timm.__version__, "headroom": pc.__version__}
    lines = keep.read_text().splitlines() if keep.exists() else []
    known = {(o["step"], o["name"]): o for o in map(json.loads, lines) if o["versions"] == versions}

    def once(step: str, name: str, attempt: Any) -> dict[str, Any]:
        if (step, name) not in known:
            known[step, name] = {"step": step, "versions": versions} | attempt(name)
            with keep.open("a") as file:
                file.write(json.dumps(known[step, name]) + "\n")
            print(step, name, known[step, name]["refusal"] or "taken", flush=True)
        return known[step, name]

    outcomes = [
        once("meta", name, on_meta) | {"family": family} for family, names in families().items() for name in names
    ]
    smallest: dict[str, dict[str, Any]] = {}
    for outcome in sorted((o for o in outcomes if not o["refusal"]), key=lambda o: o["parameters"]):
        smallest.setdefault(outcome["kind"], outcome)
    proven = {what: once("data", outcome["name"], on_data) for what, outcome in smallest.items()}
    for outcome in outcomes:
        if not outcome["refusal"]:
            proof = proven[outcome["kind"]]
            outcome |= {"proof": proof["name"], "refusal": proof["refusal"], "attention": proof.get("attention")}
    return outcomes


def page(outcomes: list[dict[str, Any]]) -> str:
    """The outcomes as Markdown: by family and verdict, with the names below each."""
    rows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for outcome in outcomes:
        reason = outcome["refusal"] or outcome.get("attention") or ""
        for name in sorted({outcome["name"], outcome.get("proof") or outcome["name"]}, key=len, reverse=True):
            reason = reason.replace(name, "NAME")
        verdict = (
            f"no: {reason}" if outcome["refusal"] else f"**yes**; no attention map: {reason}" if reason else "**yes**"
        )
        rows[outcome["family"], verdict].append(outcome["name"])
    taken = [outcome for outcome in outcomes if not outcome["refusal"]]
    proofs = sorted({outcome["proof"] for outcome in taken})
    counts = f"{len(taken)} of the {len(outcomes)} architectures of timm {timm.__version__} are taken."
    lines = [
        "# Architectures",
        "",
        f"Made by `python scripts/architectures.py`: {counts}",
        "",
        *(__doc__ or "").split("\n\n", 3)[3].strip().splitlines(),
        "",
        "| family | architectures | taken |",
        "|---|---|---|",
    ]
    for (family, verdict), names in rows.items():
        lines.append(f"| {family} ({len(names)}) | {', '.join(f'`{name}`' for name in names)} | {verdict} |")
    lines += ["", f"Run on data: {', '.join(f'`{name}`' for name in proofs)}.", ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", type=Path, default=home() / "architectures.jsonl", help="where outcomes are kept")
    options = parser.parse_args()
    options.keep.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(tried(options.keep)))


if __name__ == "__main__":
    main()
