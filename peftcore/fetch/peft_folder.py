"""A Hugging Face PEFT adapter as its files hold it, read without a model and without unpickling."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import Tensor

from peftcore import errors
from peftcore.fetch.peft_export import WEIGHTS, Pairs
from peftcore.fetch.pickles import refuse_pickle

CONFIG, PICKLED = "adapter_config.json", "adapter_model.bin"

# Settings that describe the file, those that describe how training began, and those under which a LoRA stays W + s B A.
_FILE = "peft_type task_type auto_mapping base_model_name_or_path revision inference_mode peft_version runtime_config"
_START = "init_lora_weights eva_config corda_config loftq_config lora_ga_config"
_PLAIN = """r lora_alpha use_rslora rank_pattern alpha_pattern lora_dropout target_modules exclude_modules bias
lora_bias layers_to_transform layers_pattern modules_to_save fan_in_fan_out megatron_core
qalora_group_size ensure_weight_tying"""
_OWN_WEIGHTS = ("true", "false", "gaussian", "eva", "orthogonal", "mica")  # starts that leave the frozen weights alone
_HALF = re.compile(r"(.+)\.lora_[AB]\.weight")
_NAMED = re.compile(r"\.lora_(?:A|B|magnitude_vector)\.(?!weight$|bias$)(\w+)")  # an adapter's own name in a key


@dataclass(frozen=True)
class PeftFolder:
    """`settings` are those that are not PEFT's defaults; `start` is what the weights began from, where a LoRA says so.
    `tensors` are float32 under PEFT's names, without `base_model.model.` and without the adapter's name."""

    source: Path
    tuner: str
    base: str | None
    start: str
    settings: dict[str, Any]
    tensors: dict[str, Tensor]

    def beyond_pairs(self) -> list[str]:
        """What makes an adapted layer compute something other than W x + s B A x."""
        return [
            *([f"peft_type = {self.tuner!r}"] if self.tuner != "lora" else []),
            *([f"init_lora_weights = {self.start!r}"] if self.start not in _OWN_WEIGHTS else []),
            *(f"{name} = {value!r}" for name, value in self.settings.items() if name not in _PLAIN.split()),
        ]

    def pairs(self) -> Pairs:
        """The low-rank updates of a plain LoRA.

        Raises:
            BadAdapter: something is `beyond_pairs`; half a pair, or of another rank than is configured.
        """
        if more := self.beyond_pairs():
            raise errors.BadAdapter(
                f"{str(self.source)!r} is not a plain LoRA ({', '.join(more)}): its update is not B A."
            )
        from peft.utils.other import get_pattern_key  # of the patterns that match the end of a path, the first

        found, settings = {}, self.settings
        ranks, alphas = settings.get("rank_pattern", {}), settings.get("alpha_pattern", {})
        for path in dict.fromkeys(half[1] for name in self.tensors if (half := _HALF.fullmatch(name))):
            A, B = (self.tensors.get(f"{path}.lora_{half}.weight") for half in "AB")
            rank = ranks.get(get_pattern_key(ranks, path), settings.get("r", 8))
            if A is None or B is None or not 1 < A.ndim == B.ndim or not 0 < len(A) == B.shape[1] == rank:
                raise errors.BadAdapter(f"{str(self.source)!r} holds no lora_A and lora_B of rank {rank} for {path}.")
            alpha = alphas.get(get_pattern_key(alphas, path), settings.get("lora_alpha", 8))
            found[path] = A, alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank) * B
        return found


def holds_peft(source: Path) -> bool:
    """Whether PEFT wrote this folder or file, or folders in this one."""
    if source.is_file():
        return source.name in (WEIGHTS, PICKLED) or (source.parent / CONFIG).exists()
    return any((source / name).exists() for name in (CONFIG, WEIGHTS, PICKLED)) or any(source.glob(f"*/{CONFIG}"))


def read_peft(source: Path) -> PeftFolder:
    """A PEFT adapter from its folder, or from its weights file with the configuration beside it.

    Raises:
        BadAdapter: missing, damaged or pickled; settings that PEFT does not have; several adapters.
    """
    folder = source if source.is_dir() else source.parent
    inside = sorted(config.parent for config in folder.glob(f"*/{CONFIG}"))
    if inside and not (folder / CONFIG).exists():
        names = ", ".join(path.name for path in inside)
        raise errors.BadAdapter(f"{str(folder)!r} holds folders of adapters ({names}); give one: {str(inside[0])!r}.")
    file = source if source.is_file() else folder / WEIGHTS
    refuse_pickle(file if file.exists() else folder / PICKLED)
    for needed in (file, folder / CONFIG):
        if not needed.exists():
            raise errors.BadAdapter(f"{str(folder)!r} holds no {needed.name}; give a Hugging Face PEFT adapter folder.")
    try:
        about = read_config(json.loads((folder / CONFIG).read_text()), str(folder / CONFIG))
        return PeftFolder(source, **about, tensors=_read_tensors(file))
    except (OSError, ValueError, KeyError, SafetensorError, re.error, RecursionError) as error:
        raise errors.BadAdapter(f"{str(source)!r} is damaged or not a PEFT adapter: {error}.") from None


def read_config(config: Any, where: str) -> dict[str, Any]:
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
    from peft.utils import PeftType

    kind = config.get("peft_type") if isinstance(config, dict) else None
    if not isinstance(kind, str) or kind not in PEFT_TYPE_TO_CONFIG_MAPPING:
        raise errors.BadAdapter(f"{where!r} must be a JSON object with a peft_type that PEFT has, such as 'LORA'.")
    defaults = {}
    for field in dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind)]):
        factory = field.default_factory
        defaults[field.name] = field.default if factory is dataclasses.MISSING else factory()
    ignored = f"{_FILE} {_START}".split() if kind == "LORA" else _FILE.split()
    settings = {n: v for n, v in config.items() if n not in ignored and v != defaults.get(n, None if v else v)}
    for name, value in settings.items():
        if name not in defaults:
            raise errors.BadAdapter(f"{where!r} sets {name} = {value!r}, which the installed PEFT does not know.")
        if not _is_like(value, defaults[name]) and not name.startswith("init"):
            raise errors.BadAdapter(
                f"{where!r} sets {name} = {value!r}; that is not of the kind of PEFT's default, {defaults[name]!r}."
            )
    start = str(config.get("init_lora_weights", True)).lower() if kind == "LORA" else "true"
    return {"tuner": kind.lower(), "base": config.get("base_model_name_or_path"), "start": start, "settings": settings}


def _is_like(value: Any, default: Any) -> bool:
    """Whether a setting has the type of its default, where that decides it: PEFT itself does not check."""
    if isinstance(default, dict):
        return isinstance(value, dict) and all(re.compile(pattern) and _is_like(v, 1) for pattern, v in value.items())
    if isinstance(default, int | float) and not isinstance(default, bool):
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return not isinstance(default, bool) or isinstance(value, bool)


def _read_tensors(file: Path) -> dict[str, Tensor]:
    import torch
    from safetensors.torch import load_file

    tensors = load_file(file)
    for name, tensor in tensors.items():
        # Where SHiRA's sparse updates go, and how large FRoD's matrix is.
        places = tensor.dtype in (torch.int32, torch.int64) and ("indices" in name or "frod_s_size" in name)
        if not (places or tensor.is_floating_point() and tensor.float().isfinite().all()):
            raise errors.BadAdapter(f"{str(file)!r} holds something other than finite numbers in {name}.")
    adapters = {match[1] for name in tensors if (match := _NAMED.search(name))}
    if len(adapters) > 1:
        raise errors.BadAdapter(f"{str(file)!r} mixes adapters ({', '.join(sorted(adapters))}); save each on its own.")
    named = plain_names(tensors, *adapters, "default")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in named.items()}


def plain_names(tensors: Mapping[str, Tensor], *adapters: str) -> dict[str, Tensor]:
    """Tensors under PEFT's names without base_model.model., an adapter's own name, and the wrapper of a saved module.

    A wrapper's frozen original goes; with bias='all', PEFT writes it and writes the saved biases twice.
    """
    own = "|".join(map(re.escape, adapters))
    gone = re.compile(rf"^base_model\.model\.|\.modules_to_save(\.({own}))?(?=\.)|\.({own})(?=(\.weight|\.bias)?$)")
    return {gone.sub("", name): tensor for name, tensor in tensors.items() if ".original_module." not in name}
