"""PEFT methods, one file each: a frozen set of hyper-parameters that knows how to install itself on a backbone.

A new method is one file here: a subclass of Method, exposed as METHOD. The launch form, the command line, the README
table and the contract tests find it by themselves.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Size, Tensor, nn
from torch.optim import Optimizer

from peftcore import errors
from peftcore.backbone.load import Backbone
from peftcore.events import Event
from peftcore.registry import METHODS
from peftcore.spec import Settings


@dataclass(frozen=True)
class Card:
    """What a person should know about a method: the sections of its class's docstring, and what its class can do."""

    title: str
    mergeable: bool
    equation: str  # LaTeX
    trains: str
    keeps: str  # what a training step must keep in memory, and why
    paper: str = ""
    ours: str = ""  # what was chosen here because the paper is silent
    counts: str = ""  # of trained weights on a plain ViT: an expression of its settings, d, L, N tokens and P pixels
    choose: str = ""  # when it is a good choice


class _Card:
    """A method's card, read from the docstring of its class: sections such as 'Trains: ...', further lines indented."""

    def __get__(self, _: Method | None, method: type[Method]) -> Card:
        sections = re.findall(r"^([A-Z]\w+): (.+(?:\n .+)*)", inspect.cleandoc(method.__doc__ or ""), re.MULTILINE)
        mergeable = method.merge is not Method.merge or method.as_lora is not Method.as_lora
        try:
            return Card(method.title, mergeable, **{name.lower(): " ".join(text.split()) for name, text in sections})
        except TypeError as error:
            raise errors.InvalidSetting(
                f"The docstring of {method.__name__} must have the sections Equation, Trains and Keeps, and may have "
                f"Paper, Ours, Counts and Choose: {error}."
            ) from None


class Coach:
    """What a method does between the steps of training. The loop calls every hook, whatever the method."""

    def after_backward(self) -> None:
        """Gradients are ready; the optimizer has not stepped yet."""

    def after_step(self, step: int, epoch: int) -> Iterable[Event]:
        """The optimizer has stepped; `step` and `epoch` count from 1. Returns the events to report."""
        return ()

    def end_epoch(self, step: int, epoch: int) -> Iterable[Event]:
        return ()

    def is_settled(self, step: int) -> bool:
        """Whether the weights after this step may be the run's result, where one of its epochs is selected."""
        return True

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs beside the adapter's state."""
        return {}

    def load(self, state: dict[str, Tensor]) -> None:
        """Takes over a `state`, after the model has taken over its own."""

    def close(self) -> None:
        """The run has ended."""


class Method(Settings):
    """The hyper-parameters of one PEFT method, each a field with a range and a help text.

    `kind` 'in-backbone': the trainable parts change what the backbone computes. 'side': they only read it. The class
    body sets the fields of `registry.Facts` to literals: pages read them from the source, without torch. Its
    docstring is the `card`: sections Equation (LaTeX), Trains, Keeps (what a training step must keep in memory, and
    why), Paper, Ours (what was chosen here because the paper is silent), Counts and Choose. A `model` that a method of
    it is given is the TunedModel that it was attached to.
    """

    name: ClassVar[str]  # that of its file
    title: ClassVar[str]
    kind: ClassVar[Literal["in-backbone", "side"]]
    colour: ClassVar[str] = ""
    dark_colour: ClassVar[str] = ""
    called: ClassVar[str] = ""
    baseline: ClassVar[Literal["", "upper", "lower"]] = ""
    shows: ClassVar[Literal["", "attention", "heads"]] = ""
    card: ClassVar[_Card] = _Card()
    up_front: ClassVar[tuple[str, ...]] = ()  # settings that a form shows first; by default the first fields
    limits: ClassVar[dict[str, Literal["width", "depth"]]] = {}  # fields, and what of the backbone they may not exceed
    later: ClassVar[dict[str, Any]] = {}  # fields added later, and the value that older specs meant without naming it

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        cls.name = vars(cls).get("name", cls.__module__.rpartition(".")[2])

    def settings(self) -> dict[str, Any]:
        """The name and every field, as JSON has them."""
        return {"name": self.name, **self.model_dump(mode="json")}

    def check(self, backbone: Backbone) -> None:
        """Raises errors.DoesNotFit where the settings are impossible on this backbone."""
        most = {"width": min(block.width for block in backbone.blocks), "depth": backbone.depth}
        for field, of in self.limits.items():
            if getattr(self, field) > most[of]:
                raise errors.DoesNotFit(
                    f"{self.title}: {field} {getattr(self, field)} is above the {of} of {backbone.name}; choose 1 to "
                    f"{most[of]}."
                )

    def check_run(self, epochs: int) -> None:
        """Raises errors.InvalidSetting where the settings are impossible in a run of `epochs`."""

    def install(self, backbone: Backbone) -> nn.Module:
        """Installs the method on a private clone of a backbone and returns the module of its trainable parts.

        In-backbone: registers hooks on the clone's modules (or thaws copies of its weights). Side: returns a
        SideNetwork. The names in the returned module's state_dict are those of saved adapters. A hook is a method of a
        module, or another object that is copied and pickled with the model; a closure would keep the original's.
        """
        raise NotImplementedError

    def lr_ratio_of(self, name: str) -> float:
        """The learning rate of one trainable tensor over the recipe's."""
        return 1.0

    def coach(self, model: Any, optimizer: Optimizer, epochs: int, per_epoch: int) -> Coach:
        """The method's part in a training run of `epochs` of `per_epoch` steps: by default, none."""
        return Coach()

    def state_shapes(self, tuner: nn.Module, state: dict[str, Tensor]) -> dict[str, Size]:
        """Shapes of tensors of which a saved state may hold less than the tuner does now."""
        return {}

    def as_lora(self, model: Any) -> dict[str, tuple[Tensor, Tensor]] | None:
        """The plain LoRA that computes the same: path of each Linear -> A (r, d_in), B (d_out, r) with the scale folded
        in; None where there is none."""
        return None

    def merge(self, model: Any, module: nn.Module) -> None:
        """Writes what was trained into `module`, a plain timm copy of the backbone.

        Raises:
            CannotMerge: the method is not a plain LoRA and has no merge of its own.
        """
        updates = self.as_lora(model)
        if updates is None:
            raise errors.CannotMerge(
                f"{self.title} has no equal plain timm module: what it adds cannot be folded into the backbone's "
                "weights. Save it as an adapter instead."
            )
        with torch.no_grad():
            for path, (A, B) in updates.items():
                module.get_submodule(path).weight += B @ A


class SideNetwork(nn.Module):
    """A network that reads frozen features: forward(features at `taps`) -> pooled features (B, width)."""

    taps: tuple[str, ...]
    attended: tuple[int, ...] = ()  # of each map that `attention` gives, the block whose tokens it is over

    def attention(self, features: tuple[Tensor, ...]) -> list[Tensor]:
        """Where the network looks: for each of `attended` (B, N, N), rows sum to 1."""
        return []

    @staticmethod
    def grouped(backbone: Backbone, gap: int) -> list[list[int]]:
        """By stage, the last block of each group of `gap` blocks; what is left over is a shorter last group."""
        return [[s[min(i + gap, len(s)) - 1] for i in range(0, len(s), gap)] for s in backbone.stages]

    @classmethod
    def abreast(cls, networks: Sequence[SideNetwork], features: tuple[Tensor, ...]) -> Tensor:
        """K networks with equal settings: features (K, B, ...), or (1, B, ...) where all read the same, to pooled
        features (K, B, width). One after the other, unless a method knows how to run them in one call."""
        rows = [tuple(z[k if len(z) > 1 else 0] for z in features) for k in range(len(networks))]
        return torch.stack([network(row) for network, row in zip(networks, rows, strict=True)])


def make_method(name: str, **settings: Any) -> Method:
    """A validated Method by name.

    Raises:
        UnknownName: no such method or setting; the nearest is named.
        InvalidSetting: a value outside its range.
    """
    return METHODS.load(name).METHOD(**settings)


Part = TypeVar("Part", nn.Module, nn.Parameter)


def graft(root: nn.Module, path: str, part: Part) -> Part:
    """Puts a module or a parameter below `root` at a dotted path, so that state_dict names read like the backbone's."""
    *parents, leaf = path.split(".")
    for name in parents:
        if name not in root._modules:
            root.add_module(name, nn.Module())
        root = root._modules[name]
    setattr(root, leaf, part)
    return part


METHODS.list_when_called(__name__)
