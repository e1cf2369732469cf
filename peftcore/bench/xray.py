"""What an adapter changed, by its weights alone: the norm, singular values and effective rank of each update.

Reads what `save_adapter` wrote, Hugging Face PEFT's folders (of timm's and of transformers' models), and PETL-ViT's
.bin files. Nothing is unpickled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from peftcore import errors
from peftcore.bench._updates import ORDER, Measured, Update, block_of, numbers, projections_of, split
from peftcore.cli.output import JSON, answer
from peftcore.registry import METHODS

if TYPE_CHECKING:
    from torch import Tensor

    from peftcore.methods._scores import HeadScores

HEAD_WIDTH = 64  # of ViT, DeiT, DINOv2 and CLIP in every size; a guess where a file does not name a model of timm


@dataclass(frozen=True)
class Adapter:
    """`facts`: what it was trained for and with, by name. `scores`: head energies; None where `no_scores` says why.

    `updates`: as they are read, each an Update. `guessed`: the heads of a block, where the file does not say them and
    they follow from HEAD_WIDTH. `others`: what else is in the file, as {name: norm}.
    """

    writer: str
    method: str
    facts: Mapping[str, str]
    layers: tuple[str, ...]
    updates: tuple[Measured, ...]
    scores: HeadScores | None
    no_scores: str = ""
    guessed: int | None = None
    others: Mapping[str, float] = field(default_factory=dict)

    @property
    def projections(self) -> tuple[str, ...]:
        """Of its updates in blocks, those of attention first."""
        found = dict.fromkeys(update.projection for update in self.updates if update.layer is not None)
        return tuple(sorted(found, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER)))

    def at(self, layer: int, projection: str) -> Measured | None:
        return next((u for u in self.updates if (u.layer, u.projection) == (layer, projection)), None)

    def table(self, number: str) -> np.ndarray:
        """(layers, projections) of 'norm' or 'effective_rank'; NaN where nothing was trained."""
        values = np.full((len(self.layers), len(self.projections)), np.nan)
        for update in self.updates:
            if update.layer is not None:
                values[update.layer, self.projections.index(update.projection)] = getattr(update, number)
        return values

    def measured(self) -> Adapter:
        """Without the factors of its updates: small enough to be kept and sent."""
        return replace(self, updates=tuple(u.measured() if isinstance(u, Update) else u for u in self.updates))


def read(source: str | Path, heads: int | None = None, scale: float | None = None) -> Adapter:
    """An adapter from its folder or file.

    Args:
        heads: of each block, where the file does not say. scale: of a PETL-ViT file, where its name does not give it.

    Raises:
        BadAdapter: damaged, pickled, of another kind, or an update that is not B A (DoRA, PiSSA, ...).
        NotMeasurable: the method has no low-rank update of linear layers.
        InvalidSetting: `heads` or `scale` has no use, or is missing.
    """
    from peftcore.adapters.load import origin_of
    from peftcore.adapters.save import ABOUT, TENSORS
    from peftcore.fetch.pickles import refuse_pickle

    source = Path(source)
    if source.is_file():
        refuse_pickle(source)
    origin = origin_of(source, scale=scale)
    if origin == "peft":
        return _of_peft(source, heads)
    if origin == "petl_vit":
        return _of_petl_vit(source, heads, scale)
    if heads is not None:
        raise errors.InvalidSetting(
            f"heads has no use here: {source.name!r} was saved by Headroom, which names its backbone."
        )
    if source.is_file() and source.name != ABOUT:
        return from_bytes(source.read_bytes())
    from peftcore.adapters.load import load_adapter

    folder = source.parent if source.is_file() else source
    if not (folder / TENSORS).is_file():
        load_adapter(folder)  # says what is missing
    return from_bytes((folder / TENSORS).read_bytes())


def from_bytes(blob: bytes) -> Adapter:
    """An adapter that Headroom saved, from its safetensors file. Raises as `read`."""
    from peftcore.adapters import packing
    from peftcore.adapters.load import from_bytes as load
    from peftcore.adapters.load import trained_on
    from peftcore.backbone.load import load_backbone
    from peftcore.methods import make_method
    from peftcore.model import attach
    from peftcore.probes.responsiveness import head_energy

    tensors, about = packing.unpack(blob)
    try:
        known, settings = about["backbone"], dict(about["method"])
        name, classes, method = known["name"], about["num_classes"], settings.pop("name")
        if tensors["head.weight"].shape[:1] != (classes,):
            raise ValueError("num_classes is not the number of its classifier's outputs")
        if METHODS.facts(method).shows == "heads":  # its update does not depend on the weights, which may not be here
            backbone = load_backbone(**trained_on(about) | {"pretrained": False, "weights": None})
            model = attach(backbone, make_method(method, **settings), classes, verify=False)
            model.load_adapter_state(tensors)
        else:
            model = load(blob)
    except KeyError as error:
        raise errors.BadAdapter(f"The description of this adapter is incomplete: {error} is missing.") from None
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise errors.BadAdapter(f"The description of this adapter is damaged: {error}.") from None
    pairs = model.method.as_lora(model)
    if pairs is None:
        raise errors.NotMeasurable(
            f"This is a {model.method.card.title} adapter: it adds no low-rank update to linear layers, so it has no "
            "singular values to show. LoRA, Bi-LoRA, Heart-LoRA and Serial LoRA have."
        )
    scores, why = _scores(lambda: head_energy(model))
    spec = about.get("spec") or {}
    facts = {
        "backbone": name,
        "trained for": ", ".join(str(part) for part in (spec.get("task"), f"{classes} classes") if part),
        "settings": _words({n: v for n, v in settings.items() if isinstance(v, int | float | str)}),
    }
    others = {f"classifier.{name}": float(tensor.norm()) for name, tensor in model.head.state_dict().items()}
    return _assembled("Headroom", METHODS.facts(method).title, facts, pairs, scores, why, others=others)


def _of_peft(source: Path, heads: int | None) -> Adapter:
    from peftcore.fetch.peft_folder import read_peft
    from peftcore.probes.responsiveness import head_energy

    file = read_peft(source)
    pairs = {path: (A.flatten(1), B.flatten(1)) for path, (A, B) in file.pairs().items()}
    scores, why = _scores(lambda: head_energy(source, heads=heads))
    guessed = None
    if scores is None and heads is None and (width := _width(pairs)):
        guessed = max(1, width // HEAD_WIDTH)
        guess, _ = _scores(lambda: head_energy(source, heads=guessed))
        scores, guessed = guess, guessed if guess else None
    used = {f"{path}.lora_{AB}.weight" for path in pairs for AB in "AB"}
    others = {name: float(tensor.norm()) for name, tensor in file.tensors.items() if name not in used}
    heads_of = [t for name, t in file.tensors.items() if t.ndim == 2 and re.search(r"(classifier|head)\.weight$", name)]
    settings = {"r": 8, "lora_alpha": 8} | file.settings
    facts = {
        "backbone": str(file.base or "not named in the file"),
        "trained for": f"{len(heads_of[0])} classes" if heads_of else "not said in the file; no classifier in it",
        "settings": _words({n: v for n, v in settings.items() if n not in ("target_modules", "modules_to_save")}),
    }
    return _assembled("Hugging Face PEFT", "LoRA", facts, pairs, scores, why, guessed, others)


def _width(pairs: Mapping[str, tuple[Tensor, Tensor]]) -> int | None:
    """How many rows q, k or v has, where all have as many."""
    found = {
        len(B) // len(names) for path, (_, B) in pairs.items() if (names := projections_of(path)) and names[0] in "qkv"
    }
    return found.pop() if len(found) == 1 else None


def _of_petl_vit(source: Path, heads: int | None, scale: float | None) -> Adapter:
    from peftcore.fetch import petl_vit
    from peftcore.probes.responsiveness import head_energy

    file = petl_vit.read(source, scale)
    scores, why = _scores(lambda: head_energy(source, heads=heads, scale=scale))
    facts = {
        "backbone": "ViT-B/16, ImageNet-21k",
        "trained for": f"{file.task} of VTAB-1K, {len(file.head_bias)} classes",
        "settings": f"rank {file.rank}, {file.bits} bit per weight, scale {file.scale:g}",
    }
    others = {"head.weight": float(file.head_weight.norm()), "head.bias": float(file.head_bias.norm())}
    return _assembled("PETL-ViT", "Bi-LoRA", facts, file.pairs(), scores, why, others=others)


def _words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{n} {v:g}" if isinstance(v, float) else f"{n} {v}" for n, v in settings.items())


def _scores(energy: Any) -> tuple[HeadScores | None, str]:
    """Head energies, or why there are none."""
    try:
        return energy(), ""
    except (errors.NotMeasurable, errors.InvalidSetting) as error:
        return None, str(error)


def _assembled(
    writer: str,
    method: str,
    facts: Mapping[str, str],
    pairs: Mapping[str, tuple[Tensor, Tensor]],
    scores: HeadScores | None,
    why: str,
    guessed: int | None = None,
    others: Mapping[str, float] | None = None,
) -> Adapter:
    blocks = dict.fromkeys(block for path in sorted(pairs, key=numbers) if (block := block_of(path)))
    layers = _with_those_between(scores.layers if scores else tuple(blocks))
    place = {path: layer for layer, path in enumerate(layers)}
    if scores:
        values = np.full((len(layers), *scores.values.shape[1:]), np.nan)
        values[[place[path] for path in scores.layers]] = scores.values
        scores = replace(scores, values=values, layers=layers)
    updates = tuple(
        Update.of(path, place.get(block_of(path)), name, A, B)
        for path in sorted(pairs, key=numbers)
        for name, A, B in split(path, *(tensor.detach().float().numpy() for tensor in pairs[path]))
    )
    return Adapter(writer, method, facts, layers, updates, scores, why if not scores else "", guessed, others or {})


def _with_those_between(blocks: Sequence[str]) -> tuple[str, ...]:
    """Blocks up to the last that was adapted, so that a block's place is its number: PEFT may leave some out."""
    found: dict[str, None] = {}
    for path in blocks:
        prefix, _, last = path.rpartition(".")
        found |= (
            dict.fromkeys(f"{prefix}.{number}" for number in range(int(last) + 1)) if last.isdecimal() else {path: None}
        )
    return tuple(found)


def command(
    source: Annotated[
        str, typer.Argument(help="A saved adapter, a Hugging Face PEFT folder, or a PETL-ViT .bin file.")
    ],
    heads: Annotated[int | None, typer.Option(help="How many heads a block has, where the file does not say.")] = None,
    scale: Annotated[float | None, typer.Option(help="The scale of a PETL-ViT file.")] = None,
    json: JSON = False,
) -> None:
    """What an adapter changed: norm, effective rank and singular values of each update."""
    adapter = read(source, heads, scale)
    rows: list[dict[str, Any]] = [
        {
            "update": update.path,
            "projection": update.projection,
            "rank": update.rank,
            "norm": float(f"{update.norm:.4g}"),
            "effective rank": float(f"{update.effective_rank:.3g}"),
            "singular values": [float(f"{value:.4g}") for value in update.values],
        }
        for update in adapter.updates
    ]
    shown = [
        row | {"singular values": ", ".join(f"{v:.3g}" for v in row["singular values"][:4]) + " ..."} for row in rows
    ]
    facts = {"written by": adapter.writer, "method": adapter.method, **adapter.facts}
    answer(json, {**facts, "updates": rows, "others": dict(adapter.others)}, f"{adapter.method}: {source}", shown)
