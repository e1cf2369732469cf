"""Any tuner of the installed Hugging Face PEFT, as one method among ours: same loop, same ledger, same pictures.

PEFT is imported when a tuner is attached, not before; the names of its tuners are read from its own enumeration.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import re
import runpy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, cast

import torch
from pydantic import AfterValidator, Field, field_validator
from torch import nn

from peftcore import errors
from peftcore.backbone.load import Backbone
from peftcore.methods import Method, graft
from peftcore.methods._options import freeze, thaw

_ADAPTER = "default"
_VARIANTS = {"dora": ("lora", {"use_dora": True})}  # tuners that PEFT keeps as an option of another

# Settings that a tuner needs on a vision model, where its own default does not do.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "adalora": {"total_step": 1000},  # must be given; ranks are cut by a call that PEFT leaves to the training loop
    "ia3": {"feedforward_modules": []},
    "ln_tuning": {"target_modules": ["norm1", "norm2"]},
}
_REFUSALS = (ValueError, TypeError, KeyError, AttributeError, RuntimeError, AssertionError, ImportError, re.error)


class HfPeft(Method):
    r"""Paper: Mangrulkar et al., PEFT: State-of-the-art Parameter-Efficient Fine-Tuning methods,
        github.com/huggingface/peft, and the paper of each tuner
    Equation: y = (W + \Delta W_\theta)\,x + b \quad\text{for most tuners}
    Trains: What the chosen tuner trains, in the layers that target_modules names.
    Choose: To compare a tuner of the field's own library with the methods here, in the same loop and under the same
        ledger.
    Keeps: The activations of every block above the first adapter, and whatever the tuner itself keeps; several tuners
        build the full update of a weight in every forward.
    Ours: target_modules is q, k and v where none is given, and the blocks' norms for ln_tuning. AdaLoRA stays at its
        initial rank: Headroom's loop does not call its rank allocation, and its orthogonality penalty is off. IA3
        scales outputs (feedforward_modules empty).
    """

    title = "Hugging Face PEFT"
    kind = "in-backbone"
    colour = "#7986CB"

    tuner: str = Field("lora", description="A tuner by PEFT's name: lora, dora, adalora, vera, oft, boft, ia3, ...")
    options: Annotated[dict[str, Any], AfterValidator(freeze)] = Field(
        default_factory=dict, description="Settings passed on to the tuner's own config."
    )

    @field_validator("tuner")
    @classmethod
    def _known(cls, tuner: str) -> str:
        if tuner.lower() not in tuners():
            raise errors.unknown("tuner of Hugging Face PEFT called", tuner, tuners(), most=60)
        return tuner.lower()

    def install(self, backbone: Backbone) -> nn.Module:
        module = backbone.module
        fused = any(path.endswith("attn.qkv") for path, _ in module.named_modules())
        config, tuner_class = self._config(["qkv"] if fused else ["q_proj", "k_proj", "v_proj"])
        weightless = backbone.device.type == "meta"
        before = set(module.modules())
        # Some tuners write into the weights that they find, which are shared: they find copies.
        copies = {p: nn.Parameter(p.detach().clone(), requires_grad=False) for p in module.parameters()}
        _replace(module, copies)
        refusal = errors.NeedsWeights if weightless else errors.DoesNotFit
        with _peft(refusal, f"{self._who} cannot be attached to {backbone.name}{' without weights' * weightless}"):
            tuner = tuner_class(module, config, _ADAPTER)
        kept = set(copies.values()) <= set(module.parameters())
        if not kept or not (weightless or all(torch.equal(p, copy) for p, copy in copies.items())):
            raise errors.DoesNotFit(
                f"{self._who} rewrites the frozen weights of {backbone.name} as it is attached. Headroom keeps them as "
                "they are, shared by every model; choose another tuner, or another initialisation in its options."
            )
        _replace(module, {copy: p for p, copy in copies.items() if not copy.requires_grad})
        return Installed(tuner, before)

    @property
    def _who(self) -> str:
        return f"Hugging Face PEFT's {self.tuner}"

    def _config(self, targets: list[str]) -> tuple[Any, type]:
        """The tuner's config and class; `targets` are the layers it adapts where the options name none.

        Raises:
            UnknownName: an option that the config does not have.
            InvalidSetting: an option that the config refuses.
            DoesNotFit: a tuner that is not an adapter inside a model.
        """
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
        from peft.tuners.tuners_utils import BaseTuner

        name, variant = _VARIANTS.get(self.tuner, (self.tuner, {}))
        config_class = cast(dict[str, Any], PEFT_TYPE_TO_CONFIG_MAPPING).get(name.upper())
        tuner_class = cast(dict[str, Any], PEFT_TYPE_TO_TUNER_MAPPING).get(name.upper())
        if config_class is None or tuner_class is None or not issubclass(tuner_class, BaseTuner):
            raise errors.DoesNotFit(
                f"{self._who} works on the token embeddings of language models; on images choose vpt for prompts, or a "
                "tuner that adapts layers, such as lora, dora, vera, oft or ia3."
            )
        known = {field.name for field in dataclasses.fields(config_class) if field.init}
        for option in self.options.keys() - known:
            raise errors.unknown(f"option of {self._who} called", option, known, most=60)
        options = {"target_modules": targets, **_DEFAULTS.get(name, {}), **variant, **thaw(self.options)}
        with _peft(errors.InvalidSetting, f"{self._who} refuses its options"):
            return config_class(**{option: options[option] for option in options.keys() & known}), tuner_class

    def merge(self, model: Any, module: nn.Module) -> None:
        with _peft(errors.CannotMerge, f"{self._who} cannot be merged"):
            peft = copy.deepcopy(model.tuner.peft)
            for path, part in list(peft.model.named_modules()):  # most tuners cannot unwrap what has no weight itself
                if hasattr(part, "modules_to_save"):
                    peft.model.set_submodule(path, part.modules_to_save[_ADAPTER])
            plain = peft.merge_and_unload()
        added = module.load_state_dict(plain.state_dict(), strict=False).unexpected_keys
        if added:
            raise errors.CannotMerge(f"{self._who} cannot be merged: timm's model has no place for its {added[0]}.")


class Installed(nn.Module):
    """What a PEFT tuner trains, under PEFT's own names (as in adapter_model.safetensors, without base_model.model)."""

    def __init__(self, peft: nn.Module, before: set[nn.Module]):
        super().__init__()
        for name, parameter in peft.named_parameters():
            if parameter.requires_grad:
                graft(self, name.removeprefix("model.").replace(f".{_ADAPTER}", ""), parameter)
        object.__setattr__(self, "peft", peft)  # not a child: its weights are the backbone's
        self.added = [m for m in peft.model.modules() if m not in before]

    def train(self, mode: bool = True) -> Installed:
        """The tuner's layers sit inside the backbone, which stays in eval; their dropout follows the tuner."""
        super().train(mode)
        for layer in self.added:
            layer.training = mode
        return self


def _replace(module: nn.Module, others: Mapping[nn.Parameter, nn.Parameter]) -> None:
    """Puts others[p] in the place of every parameter p that is among its keys."""
    for part in module.modules():
        part._parameters.update({name: others[p] for name, p in part._parameters.items() if p in others})


@lru_cache
def tuners() -> tuple[str, ...]:
    """Names of the tuners that the installed PEFT knows, read from its enumeration without importing the rest of it.

    Raises:
        InvalidSetting: Hugging Face PEFT is not installed.
    """
    found = importlib.util.find_spec("peft")
    if found is None or not found.origin:
        raise errors.InvalidSetting("hf_peft needs Hugging Face PEFT; install it with: pip install peft")
    types = runpy.run_path(str(Path(found.origin).parent / "utils" / "peft_types.py"))["PeftType"]
    return (*sorted(t.value.lower() for t in types), *_VARIANTS)


@contextmanager
def _peft(refusal: type[errors.HeadroomError], what: str) -> Iterator[None]:
    """PEFT at work, without its warnings; where tuner, model and options do not fit, `refusal` says why."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except _REFUSALS as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise refusal(f"{what}: {why.removesuffix('.')}.") from error


METHOD = HfPeft
