"""Hugging Face PEFT adapters that were trained elsewhere, as models here that compute the same.

PEFT itself, attached to our backbone by a folder's settings, decides which tensors the folder must hold: those and no
others. Plain LoRA then becomes our own.
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from peftcore import errors
from peftcore.adapters.merged import classifiers
from peftcore.backbone.anatomy import PROJECTIONS
from peftcore.backbone.load import Backbone, backbones
from peftcore.fetch.peft_export import lora_names, ranks, state_of_peft
from peftcore.fetch.peft_folder import CONFIG, PeftFolder, plain_names, read_peft
from peftcore.methods import make_method
from peftcore.model import TunedModel, attach

_SPLIT_WEIGHTS = ("pissa", "olora")  # starts that take a low-rank part out of the weights, the same one every time


def import_peft(folder: str | Path, backbone: Backbone) -> TunedModel:
    """A Hugging Face PEFT adapter for a timm model, as a TunedModel on `backbone` that computes the same.

    Plain LoRA of one rank becomes `lora` (PEFT's A on a fused qkv is shared by q, k and v; here each has a copy); all
    else becomes `hf_peft` with the folder's own settings.

    Raises:
        BadAdapter: not a PEFT folder, damaged, or trained on weights that it does not hold.
        AdapterMismatch: tensors that this backbone has no place for, or no saved classifier; or the folder names
            another backbone of timm's or Headroom's.
        DoesNotFit: PEFT cannot attach it to this backbone.
    """
    record = read_peft(Path(folder))
    _check_base(record, backbone)
    record = _on_original_weights(record, backbone)
    paths, tensors = classifiers(backbone), dict(record.tensors)
    heads = [[tensors.pop(f"{path}.{name}", torch.empty(0)) for name in ("weight", "bias")] for path in paths]
    weight, bias = heads[0]
    shaped = bias.ndim == 1 and weight.shape == (len(bias), backbone.width)
    if not shaped or not all(map(torch.equal, heads[0], heads[-1])):
        others = ", ".join(name for name in tensors if ".lora_" not in name) or "nothing else"
        raise errors.AdapterMismatch(
            f"{str(folder)!r} does not hold one classifier of width {backbone.width} as {' and '.join(paths)}, but "
            f"{others[:99]}; save it with modules_to_save={[*paths]}."
        )
    method = make_method("hf_peft", tuner=record.tuner, options={"target_modules": None} | record.settings)
    model = attach(backbone, method, len(weight))
    _fill(model, tensors, str(folder))
    if not record.beyond_pairs() and all(name.endswith((".lora_A.weight", ".lora_B.weight")) for name in tensors):
        model = _as_lora(record, backbone, len(weight)) or model
    model.head.load_state_dict({"weight": weight, "bias": bias})
    return model.eval()


def _check_base(record: PeftFolder, backbone: Backbone) -> None:
    """Of other names than timm's and Headroom's, and of local paths, nothing is known."""
    (theirs, their_tag), (ours, our_tag) = map(_architecture, (str(record.base), backbone.name))
    other_weights = their_tag and our_tag and their_tag != our_tag
    if {theirs, ours} <= {*backbones()} and (theirs != ours or other_weights):
        raise errors.AdapterMismatch(
            f"{str(record.source)!r} was trained on {record.base}, by its {CONFIG}, and the backbone given is "
            f"{backbone.name}; load it on the one that it was trained on."
        )


def _architecture(name: str) -> tuple[str, str]:
    """'hf-hub:timm/vit_tiny_patch16_224.augreg' -> ('vit_tiny_patch16_224', 'augreg')."""
    name, _, tag = name.removeprefix("hf-hub:").removeprefix("timm/").partition(".")
    return name, tag


def _on_original_weights(record: PeftFolder, backbone: Backbone) -> PeftFolder:
    """The same adapter for the weights from before its start changed them.

    PiSSA and OLoRA take s B0 A0 out of W and train s B A from there, so what was learned is s (B A - B0 A0): a LoRA of
    twice the rank. B0 and A0 follow from W, and PEFT computes them again.

    Raises:
        BadAdapter: the weights that it was trained on follow from more than W.
    """
    plain = replace(record, start="true")
    if record.beyond_pairs() == plain.beyond_pairs():
        return record
    if record.start not in _SPLIT_WEIGHTS or plain.beyond_pairs():
        raise errors.BadAdapter(
            f"{str(record.source)!r} was trained with {' and '.join(record.beyond_pairs())}, which may change the "
            "frozen weights, and does not hold them. Save it with path_initial_model_for_weight_conversion, which "
            "makes it a plain LoRA."
        )
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    config = LoraConfig(**record.settings | {"init_lora_weights": record.start})
    begun = get_peft_model_state_dict(get_peft_model(copy.deepcopy(backbone.module), config))
    first, last = replace(plain, tensors=plain_names(begun, "default")).pairs(), plain.pairs()
    learnt = {p: (torch.cat([A, first[p][0]]), torch.cat([B, -first[p][1]], 1)) for p, (A, B) in last.items()}
    settings = record.settings | ranks(learnt) | {"use_rslora": False}
    return replace(plain, settings=settings, tensors=record.tensors | lora_names(learnt))


@torch.no_grad()
def _fill(model: TunedModel, tensors: dict[str, Tensor], source: str) -> None:
    """Puts the file's tensors in their places, which PEFT names; there must be no others on either side."""
    own = plain_names(state_of_peft(model), "default")
    trained = {parameter.data_ptr() for parameter in model.tuner.parameters()}
    for name in sorted(own.keys() | tensors.keys()):
        if name not in own or name not in tensors:
            what = "also holds" if name in tensors else "lacks"
            raise errors.AdapterMismatch(f"{source!r} {what} {name}, by its settings on {model.backbone.name}.")
        place, tensor = own[name], tensors[name].to(own[name].device)
        if place.shape != tensor.shape:
            was, now = tuple(tensor.shape), tuple(place.shape)
            raise errors.AdapterMismatch(f"{name} is {was} in {source!r}; on {model.backbone.name} it is {now}.")
        if place.data_ptr() not in trained and not torch.equal(place, tensor):
            raise errors.AdapterMismatch(f"{source!r} holds a frozen {name} that its settings do not reproduce here.")
        place.copy_(tensor)


def _as_lora(record: PeftFolder, backbone: Backbone, num_classes: int) -> TunedModel | None:
    """Our own LoRA that computes the same; None where ranks differ, or other layers are adapted than all of a kind."""
    pairs, paths = record.pairs(), {layer: path for path, layer in backbone.module.named_modules()}
    untrained = not any(B.any() for _, B in pairs.values())
    state: dict[str, Tensor] = {}
    projections: Counter[str] = Counter()
    ranks, used = set(), set()
    for block, projection in itertools.product(backbone.blocks, PROJECTIONS):
        with suppress(errors.DoesNotFit, KeyError):  # this family has no such projection, or the file does not adapt it
            site = backbone.site(block, projection)
            A, B = pairs[paths[site.linear]]
            used.add(paths[site.linear])
            on = B[site.rows].any(0) | untrained  # the other columns of B belong to other projections of a fused Linear
            if on.any():
                state |= {f"{site.path}.lora_A.weight": A[on], f"{site.path}.lora_B.weight": B[site.rows][:, on]}
                projections[projection] += 1
                ranks.add(int(on.sum()))
    every_block = set(projections.values()) == {backbone.depth} and used == pairs.keys()
    if not every_block or len(ranks) != 1 or max(ranks) > min(block.width for block in backbone.blocks):
        return None
    rank, dropout = ranks.pop(), record.settings.get("lora_dropout", 0.0)
    lora = make_method("lora", rank=rank, alpha=rank, projections=tuple(projections), dropout=dropout)
    model = attach(backbone, lora, num_classes, verify=False)
    model.tuner.load_state_dict(state)
    return model
