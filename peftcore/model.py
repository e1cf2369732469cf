"""TunedModel: backbone + what a method trains + classifier, from images to logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from peftcore import errors
from peftcore.backbone.load import Backbone
from peftcore.methods import Method
from peftcore.registry import METHODS
from peftcore.spec import as_method


class TunedModel(nn.Module):
    """images (B, C, H, W) -> logits (B, num_classes). Made by `attach`.

    `backbone` is a private clone that shares its frozen weights with the one passed to `attach`; `tuner` holds what the
    method trains; `head` is the classifier on the pooled features.
    """

    def __init__(self, backbone: Backbone, method: Method, tuner: nn.Module, head: nn.Linear, origin: Backbone):
        super().__init__()
        self.backbone, self.method, self.is_side = backbone, method, method.kind == "side"
        self._backbone_count = origin.parameter_count()
        self.trunk = backbone.module
        self.tuner, self.head = tuner, head
        thawed = any(p.requires_grad for p in self.trunk.parameters())
        self._fingerprint = origin.fingerprint if thawed and origin.device.type != "meta" else None

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the backbone that this model was attached to, before anything of it was trained."""
        return self._fingerprint or self.backbone.fingerprint

    def _apply(self, *args: Any, **settings: Any) -> TunedModel:
        """A move or another type: the fingerprint stays that of the weights as they were loaded."""
        if self.backbone.device.type != "meta":
            self._fingerprint = self.fingerprint
        return super()._apply(*args, **settings)

    def train(self, mode: bool = True) -> TunedModel:
        """The method's parts change mode; the backbone stays in eval."""
        super().train(mode)
        self.trunk.eval()
        self.tuner.train(mode)  # last, for tuners whose parts sit inside the backbone
        return self

    def forward(self, images: Tensor) -> Tensor:
        return self.from_features(self.features(images)) if self.is_side else self.head(self.backbone.pooled(images))

    def features(self, images: Tensor) -> tuple[Tensor, ...]:
        """Side methods only: the frozen features that the side network reads, without gradient, the same every time.

        Raises:
            DoesNotFit: the method changes the backbone, so it has no frozen features.
        """
        self._needs_side()
        return self.backbone.taps(images, self.tuner.taps)

    def from_features(self, features: tuple[Tensor, ...]) -> Tensor:
        """Side methods only: frozen features -> logits (B, num_classes)."""
        self._needs_side()
        return self.head(self.tuner(features))

    @staticmethod
    def abreast(models: Sequence[TunedModel], features: tuple[Tensor, ...]) -> Tensor:
        """K side models with equal methods on one backbone: features (K, B, ...), or (1, B, ...) where all read the
        same, to logits (K, B, num_classes). They run in one call where their method knows how."""
        pooled = models[0].tuner.abreast([m.tuner for m in models], features)  # (K, B, d)
        weight, bias = (torch.stack([getattr(m.head, n) for m in models]) for n in ("weight", "bias"))
        return torch.baddbmm(bias[:, None], pooled, weight.mT)

    def _needs_side(self) -> None:
        if not self.is_side:
            raise errors.DoesNotFit(
                f"{self.method.title} changes what the backbone computes, so it has no frozen features; "
                f"only side methods ({', '.join(METHODS.names(kind='side'))}) have."
            )

    def named_trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Trainable parameters by the names of `adapter_state`."""
        return ((name, tensor) for name, tensor in self._named_state() if tensor.requires_grad)

    def trainable_parameters(self) -> list[nn.Parameter]:
        return [p for _, p in self.named_trainable()]

    def parameter_counts(self) -> dict[str, int]:
        """Numbers of weights: the whole backbone, what the method trains, and the classifier."""
        method = sum(p.numel() for p in self.tuner.parameters())
        head = sum(p.numel() for p in self.head.parameters())
        return {"backbone": self._backbone_count, "method": method, "head": head}

    def _named_state(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.tuner.state_dict(keep_vars=True).items()
        for name, parameter in self.head.named_parameters():
            yield f"head.{name}", parameter

    def adapter_state(self) -> dict[str, Tensor]:
        """What training changes, by its method's own names, and the classifier as head.weight and head.bias."""
        return {name: tensor.detach().clone() for name, tensor in self._named_state()}

    def load_adapter_state(self, state: dict[str, Tensor]) -> None:
        """Takes over an `adapter_state`.

        Raises:
            AdapterMismatch: names, shapes or kinds of number differ from this model's; nothing is changed then.
        """
        own = dict(self._named_state())
        missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
        if missing or extra:
            raise errors.AdapterMismatch(
                f"This state does not belong to {self.method.title} on {self.backbone.name}: "
                f"{len(missing)} tensors are missing{_first(missing)} and {len(extra)} are not its own{_first(extra)}."
            )
        shapes = {name: tensor.shape for name, tensor in own.items()} | self.method.state_shapes(self.tuner, state)
        for name, shape in shapes.items():
            if (y := own[name]).is_floating_point() != (x := state[name]).is_floating_point() or x.shape != shape:
                raise errors.AdapterMismatch(f"{name} is {(*x.shape,)} {x.dtype}, it needs {(*shape,)} {y.dtype}.")
        self.tuner.load_state_dict({k: v for k, v in state.items() if not k.startswith("head.")})
        self.head.load_state_dict({k.removeprefix("head."): v for k, v in state.items() if k.startswith("head.")})


def _first(names: list[str]) -> str:
    return f" ({names[0]} first)" if names else ""


def attach(
    backbone: Backbone, method: Method | str | Mapping, num_classes: int, seed: int = 0, verify: bool = True
) -> TunedModel:
    """A TunedModel; `backbone` itself is not changed, and its weights are shared, not copied.

    `method` may be its name, or its settings with a 'name' among them. The same seed gives every method the same
    classifier at the start. `verify` runs one image through the model, nudges what is zero at the start, and raises if
    the logits do not move or a trainable tensor would get no gradient.

    Raises:
        DoesNotFit: settings that are impossible on this backbone, or an adapter that this architecture never runs.
        InvalidSetting: fewer than two classes, no Backbone or Method, or a Backbone that a method has changed already.
    """
    if not isinstance(backbone, Backbone):
        raise errors.InvalidSetting(f"attach takes a Backbone, as load_backbone(NAME) makes it; got {backbone!r}.")
    if backbone.carries:
        raise errors.InvalidSetting(
            f"This backbone is a model's own and carries {backbone.carries}, which a file of the new adapter would not "
            "hold; attach to the Backbone that the model was made of."
        )
    try:
        method = as_method(method)
    except ValueError as error:
        raise errors.InvalidSetting(f"attach takes {error}.") from None
    if not isinstance(num_classes, Integral) or isinstance(num_classes, bool) or num_classes < 2:
        raise errors.InvalidSetting(f"num_classes is {num_classes!r}; it must be a whole number, at least 2.")
    method.check(backbone)
    own = replace(backbone.clone(), carries="" if method.kind == "side" else method.title)
    with torch.random.fork_rng(), torch.device(backbone.device):
        torch.manual_seed(seed)
        head = nn.Linear(own.width, int(num_classes))
        nn.init.trunc_normal_(head.weight, std=0.02)
        nn.init.zeros_(head.bias)
        if not isinstance(tuner := method.install(own), nn.Module):
            raise errors.DoesNotFit(f"{method.title}: `install` must return the module of what trains; got {tuner!r}.")
    model = TunedModel(own, method, tuner, head, origin=backbone).train()
    if verify and backbone.device.type != "meta":
        _prove_it_runs(model)
    return model


def _prove_it_runs(model: TunedModel) -> None:
    """Each trainable tensor must be reached from the logits, and moving what is zero at the start must move them.

    EVA, BEiT and Swin V2 read the weight of qkv past any hook or wrapper, so an adapter there would train nothing.
    """
    who, named = f"{model.method.title} on {model.backbone.name}", dict(model.named_trainable())
    if (kind := next(model.trunk.parameters()).dtype) != (wanted := model.head.weight.dtype):
        raise errors.DoesNotFit(f"{who}: its weights are {kind}; attach to {wanted} ones, and then change the model's.")
    zeros = {name: p for name, p in model.named_parameters() if not name.startswith("head.") and not p.any()}
    # Random weights of Swin V2 begin with norms that multiply each block by zero; trained ones do not.
    norms = {name: torch.full_like(p, 0.1) for name, p in zeros.items() if p.dim() == 1 and not p.requires_grad}
    zeros = {name: p for name, p in zeros.items() if p.requires_grad}
    try:
        with torch.random.fork_rng(), torch.enable_grad():
            torch.manual_seed(0)
            image = torch.randn(1, *model.backbone.input_size, device=model.backbone.device).to(model.head.weight.dtype)
            with torch.no_grad():
                start = functional_call(model.eval(), norms, (image,), tie_weights=False)
            nudged = {name: torch.randn_like(p).mul_(0.1).requires_grad_() for name, p in zeros.items()}
            # With tied weights torch would leave the nudged tensor in a place that has a second name.
            logits = functional_call(model, norms | nudged, (image,), tie_weights=False)
            moved = {p: nudged[name] for name, p in zeros.items()}
            asked = [moved.get(p, p) for p in named.values()]
            gradients = torch.autograd.grad(logits.sum(), asked, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except (AttributeError, LookupError, RuntimeError, ValueError) as error:
        # A bare key or index explains nothing without the kind of error.
        said = [] if isinstance(error, LookupError) else str(error).strip().splitlines()
        raise errors.DoesNotFit(f"{who} does not run: {said[0].rstrip('.') if said else repr(error)}.") from error
    finally:
        model.train()
    refuse_idle(model, [name for name, gradient in zip(named, gradients, strict=True) if gradient is None])
    own = [g for name, g in zip(named, gradients, strict=True) if not name.startswith("head.")]
    if own and (not any(g.any() for g in own) or (zeros and torch.equal(start, logits))):
        raise errors.DoesNotFit(
            f"{who} would train nothing: no change of its weights changes what the model computes. "
            "Choose other settings or another method."
        )


def refuse_idle(model: TunedModel, idle: Sequence[str]) -> None:
    """Raises DoesNotFit where there are trainable tensors, by name, that a backward pass does not reach."""
    if idle:
        more = f" and {len(idle) - 1} more places" if len(idle) > 1 else ""
        raise errors.DoesNotFit(
            f"{model.method.title} on {model.backbone.name} would train nothing at {idle[0]}{more}: this architecture "
            "never calls the layer that the adapter sits on. Choose other projections or another method."
        )
