"""Hugging Face PEFT adapter folders: what was trained elsewhere comes in, what was trained here leaves.

Both ways are exact. PEFT itself, attached to our backbone by the folder's own settings, says which tensors the folder
must hold; it must hold those and no others. What is plain LoRA then becomes our own, and the rest stays as PEFT's.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import math
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from peftcore import errors
from peftcore.adapters.merged import plain_copy
from peftcore.adapters.packing import refuse_pickle
from peftcore.backbone.anatomy import PROJECTIONS
from peftcore.backbone.load import Backbone
from peftcore.methods import make_method
from peftcore.model import TunedModel, attach

_CONFIG, _WEIGHTS, _PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
_PREFIX = "base_model.model."
_NAME = re.compile(r"\.lora_(?:A|B|magnitude_vector)\.(?!weight$|bias$)(\w+)")  # an adapter's own name inside a key
# What a configuration says of the file, and of the weights that training started from.
_FILE = "peft_type task_type auto_mapping base_model_name_or_path revision inference_mode peft_version runtime_config"
_START = "init_lora_weights eva_config corda_config loftq_config lora_ga_config"
_IGNORED = frozenset([*_FILE.split(), *_START.split()])
_KEEP_WEIGHTS = ("true", "false", "gaussian", "eva", "orthogonal", "mica")  # starts that leave frozen weights alone
_SPLIT_WEIGHTS = ("pissa", "olora")  # starts that take a low-rank part out of them, the same one every time

Pairs = dict[str, tuple[Tensor, Tensor]]  # path of a Linear -> A (r, d_in), B (d_out, r) with the scale folded in


class _Lora(BaseModel, strict=True, extra="allow"):
    """The settings that leave an adapted layer W x + s B A x. Any other that is on makes it something else."""

    r: int = Field(8, ge=1)
    lora_alpha: float = Field(8.0, allow_inf_nan=False)
    use_rslora: bool = False
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, float] | None = None
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: str | list[str] | None = None
    exclude_modules: str | list[str] | None = None
    layers_to_transform: int | list[int] | None = None
    layers_pattern: str | list[str] | None = None
    modules_to_save: list[str] | None = None
    bias: Literal["none", "all", "lora_only"] = "none"
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    init_lora_weights: bool | str = True
    base_model_name_or_path: str | None = None
    megatron_core: Any = None  # this and the next two do nothing without another setting
    qalora_group_size: Any = None
    ensure_weight_tying: Any = None

    def scale(self, path: str, rank: int) -> float:
        return _first(self.alpha_pattern, path, self.lora_alpha) / (math.sqrt(rank) if self.use_rslora else rank)


def _first(patterns: dict[str, Any] | None, path: str, default: Any) -> Any:
    """As in PEFT, the first pattern that matches the end of a path counts."""
    return next((value for p, value in (patterns or {}).items() if re.match(rf"(.*\.)?({p})$", path)), default)


@dataclass(frozen=True)
class PeftFolder:
    """A Hugging Face PEFT adapter as its files hold it: its settings, and its tensors in float32 under PEFT's names,
    without `base_model.model.` and without the adapter's name."""

    source: Path
    config: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def tuner(self) -> str:
        return self.config["peft_type"].lower()

    @property
    def start(self) -> str:
        """What a LoRA's training started from."""
        return str(self.config.get("init_lora_weights", True)).lower() if self.tuner == "lora" else "true"

    def beyond_pairs(self) -> list[str]:
        """Settings by which an adapted layer is something else than W x + s B A x with the W that was there before."""
        if self.tuner != "lora":
            return [f"peft_type = {self.config['peft_type']!r}"]
        more = {name: value for name, value in _Lora(**self.config).model_extra.items() if name not in _IGNORED}
        more["init_lora_weights"] = self.start if self.start not in _KEEP_WEIGHTS else None
        return [f"{name} = {value!r}" for name, value in sorted(more.items()) if value]

    def pairs(self) -> Pairs:
        """The low-rank updates of a plain LoRA.

        Raises:
            BadAdapter: something is `beyond_pairs`; half a pair, or a rank other than the configured one.
        """
        if more := self.beyond_pairs():
            raise errors.BadAdapter(
                f"{str(self.source)!r} is no plain LoRA ({', '.join(more)}): what it adds to a weight is not in its file "
                "alone. Load it on its backbone: load_adapter(..., backbone=load_backbone(NAME))."
            )
        settings, found = _Lora(**self.config), {}
        for path in (name.removesuffix(".lora_A.weight") for name in self.tensors if name.endswith(".lora_A.weight")):
            A, B = self.tensors[f"{path}.lora_A.weight"], self.tensors.get(f"{path}.lora_B.weight")
            rank = _first(settings.rank_pattern, path, settings.r)
            if B is None or not len(A) == B.shape[1] == rank:
                raise errors.BadAdapter(f"{str(self.source)!r} holds no lora_A and lora_B of rank {rank} for {path}.")
            found[path] = A, settings.scale(path, rank) * B
        return found


def holds_peft(source: Path) -> bool:
    """Whether this is a folder or a file that Hugging Face PEFT wrote, or a folder around such folders."""
    if source.is_file():
        return source.name in (_WEIGHTS, _PICKLED) or (source.parent / _CONFIG).exists()
    return any((source / n).exists() for n in (_CONFIG, _WEIGHTS, _PICKLED)) or any(source.glob(f"*/{_CONFIG}"))


def read_peft(source: Path) -> PeftFolder:
    """A PEFT adapter from its folder, or from its weights file with the configuration beside it.

    Raises:
        BadAdapter: missing, damaged or pickled; settings of a wrong type; several adapters.
    """
    folder = source if source.is_dir() else source.parent
    file = source if source.is_file() else folder / _WEIGHTS
    inside = sorted(config.parent for config in folder.glob(f"*/{_CONFIG}"))
    if inside and not (folder / _CONFIG).exists():
        names = ", ".join(path.name for path in inside)
        raise errors.BadAdapter(f"{str(folder)!r} holds adapters in folders ({names}); give one: {str(inside[0])!r}.")
    if not file.exists() and (folder / _PICKLED).exists():
        file = folder / _PICKLED
    refuse_pickle(file)
    for needed in (file, folder / _CONFIG):
        if not needed.exists():
            raise errors.BadAdapter(f"{str(folder)!r} holds no {needed.name}; give a Hugging Face PEFT adapter folder.")
    return PeftFolder(source, _read_config(folder / _CONFIG), _read_tensors(file))


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text())
        if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
            raise ValueError("it must be a JSON object with a peft_type, such as 'LORA'")
        if config["peft_type"].upper() == "LORA":
            _Lora(**config)
            for pattern in [*(config.get("rank_pattern") or ()), *(config.get("alpha_pattern") or ())]:
                re.compile(pattern)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise errors.BadAdapter(
            f"{str(file)!r}: {where} = {wrong['input']!r} is not possible; {wrong['msg']}."
        ) from None
    except (OSError, ValueError, re.error) as error:
        raise errors.BadAdapter(f"{str(file)!r} is damaged or no PEFT configuration: {error}.") from None
    return config


def _read_tensors(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        tensors = {name.removeprefix(_PREFIX): t for name, t in load_file(file).items()}
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise errors.BadAdapter(f"{str(file)!r} is damaged or no safetensors file: {error}.") from None
    odd = [name for name, t in tensors.items() if not (t.is_floating_point() and t.float().isfinite().all())]
    if odd:
        raise errors.BadAdapter(f"{str(file)!r} holds numbers that are not finite, or no weights at all, in {odd[0]}.")
    adapters = sorted({match[1] for name in tensors if (match := _NAME.search(name))})
    if len(adapters) > 1:
        raise errors.BadAdapter(
            f"{str(file)!r} mixes adapters ({', '.join(adapters)}); save each to a file of its own."
        )
    for adapter in map(re.escape, adapters):
        named = re.compile(rf"\.modules_to_save\.{adapter}(?=\.)|\.{adapter}(?=(\.weight|\.bias)?$)")
        tensors = {named.sub("", name): tensor for name, tensor in tensors.items()}
    return {name: tensor.float() for name, tensor in tensors.items()}


def export_peft(model: TunedModel, folder: str | Path) -> Path:
    """A Hugging Face PEFT LoRA folder that computes what `model` computes, written by PEFT itself.

    Load it with `PeftModel.from_pretrained(timm.create_model(NAME, num_classes=...), folder)`.

    Raises:
        CannotExport: the method is no exact LoRA on linear layers.
    """
    updates = model.method.as_lora(model)
    if updates is None:
        raise errors.CannotExport(
            f"{model.method.card.title} is no low-rank update of linear layers, so Hugging Face PEFT's LoRA cannot hold it; "
            "lora, bi_lora, heart_lora and serial_lora can be exported."
        )
    from peft import LoraConfig, get_peft_model

    module = plain_copy(model)
    heads = module.pretrained_cfg["classifier"]  # a distilled DeiT has two
    config = LoraConfig(
        lora_dropout=getattr(model.method, "dropout", 0.0),
        target_modules=list(updates),
        modules_to_save=[heads] if isinstance(heads, str) else list(heads),
        base_model_name_or_path=model.backbone.name,
        **_ranks(updates),
    )
    wrapped = get_peft_model(module, config)
    wrapped.peft_config["default"].base_model_name_or_path = model.backbone.name  # PEFT took it for a hub name
    with torch.no_grad():
        for path, (A, B) in updates.items():
            layer = module.get_submodule(path)
            layer.lora_A["default"].weight.copy_(A)
            layer.lora_B["default"].weight.copy_(B)
    try:
        wrapped.save_pretrained(str(folder))
    except OSError as error:
        raise errors.CannotExport(f"{str(folder)!r} cannot be written: {error.strerror}.") from error
    return Path(folder)


def _ranks(pairs: Pairs) -> dict[str, Any]:
    """The settings of PEFT's LoRA for these ranks at scale 1: alpha equals the rank everywhere."""
    ranks = {path: len(A) for path, (A, _) in pairs.items()}
    common = max(ranks.values(), key=list(ranks.values()).count)
    others = {path: rank for path, rank in ranks.items() if rank != common}
    return {"r": common, "lora_alpha": common, "rank_pattern": others, "alpha_pattern": others}


def import_peft(folder: str | Path, backbone: Backbone) -> TunedModel:
    """A Hugging Face PEFT adapter for a timm model, as a TunedModel on `backbone` that computes the same.

    Plain LoRA of one rank becomes `lora` (PEFT's A on a fused qkv is shared by q, k and v; here each has a copy); all
    else becomes `hf_peft` with the folder's own settings.

    Raises:
        BadAdapter: no PEFT folder, damaged, or trained on weights that it does not hold.
        AdapterMismatch: tensors that this backbone has no place for, or no saved classifier.
        DoesNotFit: PEFT cannot attach it to this backbone.
    """
    record = _on_original_weights(read_peft(Path(folder)), backbone)
    head, tensors = _split(record, backbone)
    method = make_method("hf_peft", tuner=record.tuner, options=_options(record, backbone))
    model = attach(backbone, method, len(head["weight"]))
    _fill(model, tensors, record.source)
    if not record.beyond_pairs() and all(name.endswith((".lora_A.weight", ".lora_B.weight")) for name in tensors):
        model = _as_lora(record, backbone, len(head["weight"])) or model
    model.head.load_state_dict(head)
    return model.eval()


def _on_original_weights(record: PeftFolder, backbone: Backbone) -> PeftFolder:
    """The same adapter for weights as they were before its initialisation changed them.

    PiSSA and OLoRA take s B0 A0 out of W and train s B A from there, so what was learnt is s (B A - B0 A0): a LoRA of
    twice the rank. B0 and A0 follow from W, and PEFT computes them again.

    Raises:
        BadAdapter: the weights that it was trained on follow from more than W.
    """
    if record.start in _KEEP_WEIGHTS:
        return record
    if record.start not in _SPLIT_WEIGHTS or len(record.beyond_pairs()) > 1:
        raise errors.BadAdapter(
            f"{str(record.source)!r} was trained with {' and '.join(record.beyond_pairs())} on frozen weights that were "
            "changed and are not in it. Save it again with path_initial_model_for_weight_conversion, which makes it a "
            "plain LoRA."
        )
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    plain = record.config | {"init_lora_weights": True}
    config = LoraConfig(**_options(record, backbone), init_lora_weights=record.start)
    begun = get_peft_model_state_dict(get_peft_model(copy.deepcopy(backbone.module), config))
    first = {name.removeprefix(_PREFIX): tensor for name, tensor in begun.items()}
    old, new = (replace(record, config=plain, tensors=tensors).pairs() for tensors in (first, record.tensors))
    learnt = {path: (torch.cat([A, old[path][0]]), torch.cat([B, -old[path][1]], 1)) for path, (A, B) in new.items()}
    tensors = dict(record.tensors)
    for path, (A, B) in learnt.items():
        tensors |= {f"{path}.lora_A.weight": A, f"{path}.lora_B.weight": B}
    return replace(record, config=plain | _ranks(learnt) | {"use_rslora": False}, tensors=tensors)


def _split(record: PeftFolder, backbone: Backbone) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The classifier's weight and bias, and all other tensors."""
    path = backbone.module.pretrained_cfg["classifier"]
    if not isinstance(path, str):
        raise errors.AdapterMismatch(
            f"{backbone.name} has the classifiers {' and '.join(path)}, and Headroom imports PEFT folders for one alone; "
            "import it on a backbone without a distillation token."
        )
    head = {name.removeprefix(f"{path}."): t for name, t in record.tensors.items() if name.startswith(f"{path}.")}
    # Where all biases were trained, PEFT keeps the classifier's a second and a third time.
    head = {name: t for name, t in head.items() if not name.startswith(("modules_to_save.", "original_module."))}
    weight = head.get("weight")
    if weight is None or weight.shape[1:] != (backbone.width,) or head.keys() - {"weight", "bias"}:
        raise errors.AdapterMismatch(
            f"{str(record.source)!r} holds no classifier for width {backbone.width}, or more than a classifier, as "
            f"{path} ({', '.join(sorted(head)) or 'nothing'}); save it with modules_to_save=[{path!r}]."
        )
    head.setdefault("bias", torch.zeros(len(weight)))
    return head, {name: t for name, t in record.tensors.items() if not name.startswith(f"{path}.")}


def _options(record: PeftFolder, backbone: Backbone) -> dict[str, Any]:
    """What `hf_peft` needs of the settings: those that are not PEFT's defaults, without what only says how it started."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    fields = dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING.get(record.tuner.upper(), PeftFolder))
    defaults = {f.name: f.default_factory() if callable(f.default_factory) else f.default for f in fields}
    ignored = _IGNORED if record.tuner == "lora" else set(_FILE.split())
    options = {
        name: v for name, v in record.config.items() if name not in ignored and v != defaults.get(name, v or None)
    }
    classifier = backbone.module.pretrained_cfg["classifier"]
    if isinstance(saved := options.pop("modules_to_save", None), list):
        kept = [name for name in saved if not f"{classifier}.".startswith(f"{name}.") and not classifier.endswith(name)]
        options |= {"modules_to_save": kept} if kept else {}
    return options


@torch.no_grad()
def _fill(model: TunedModel, tensors: dict[str, Tensor], source: Path) -> None:
    """Puts the file's tensors in their places, which PEFT names."""
    from peft import get_peft_model_state_dict

    whole = nn.Module()  # PEFT's names start at the model that it wraps
    whole.base_model, whole.peft_config = model.tuner.peft, model.tuner.peft.peft_config
    own = get_peft_model_state_dict(whole, save_embedding_layers=False)
    own = {name.removeprefix(_PREFIX): tensor for name, tensor in own.items()}
    for names, what in ((own.keys() - tensors.keys(), "lacks"), (tensors.keys() - own.keys(), "also holds")):
        if names:
            raise errors.AdapterMismatch(
                f"{str(source)!r} {what} {min(names)}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: with its "
                f"settings, PEFT on {model.backbone.name} trains {len(own)} tensors beside the classifier."
            )
    trained = {parameter.data_ptr() for parameter in model.tuner.parameters()}
    for name, place in own.items():
        if place.shape != tensors[name].shape:
            raise errors.AdapterMismatch(
                f"{name} is {tuple(tensors[name].shape)} in {str(source)!r}; on {model.backbone.name} it is "
                f"{tuple(place.shape)}."
            )
        if place.data_ptr() not in trained and not torch.equal(place, tensors[name]):
            raise errors.AdapterMismatch(
                f"{str(source)!r} holds other values for {name} than its settings draw, and Headroom cannot keep them."
            )
        place.copy_(tensors[name])


def _as_lora(record: PeftFolder, backbone: Backbone, num_classes: int) -> TunedModel | None:
    """Our own LoRA that computes the same; None where ranks differ, or other layers are adapted than all of a kind."""
    pairs, paths = record.pairs(), {layer: path for path, layer in backbone.module.named_modules()}
    untrained = not any(B.any() for _, B in pairs.values())
    state: dict[str, Tensor] = {}
    projections, ranks, used = Counter(), set(), set()
    for block, projection in itertools.product(backbone.blocks, PROJECTIONS):
        with suppress(errors.DoesNotFit):  # a projection that this family does not have
            site = backbone.site(block, projection)
            path = paths[site.linear]
            A, B = pairs.get(path, (torch.empty(0, 0), torch.empty(0, 0)))
            on = (
                B[site.rows].any(0) | untrained
            )  # columns of B that are zero in these rows belong to another projection
            used.add(path)
            if on.any():
                state[f"{site.path}.lora_A.weight"] = A[on]
                state[f"{site.path}.lora_B.weight"] = B[site.rows][:, on]
                projections[projection] += 1
                ranks.add(int(on.sum()))
    narrowest = min(block.width for block in backbone.blocks)
    whole = set(projections.values()) == {backbone.depth} and pairs.keys() <= used
    if not whole or len(ranks) != 1 or max(ranks) > narrowest:
        return None
    rank, dropout = ranks.pop(), record.config.get("lora_dropout", 0.0)
    lora = make_method("lora", rank=rank, alpha=rank, projections=tuple(projections), dropout=dropout)
    model = attach(backbone, lora, num_classes, verify=False)
    model.load_adapter_state(state | {f"head.{n}": p.detach() for n, p in model.head.named_parameters()})
    return model
