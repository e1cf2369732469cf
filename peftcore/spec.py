"""RunSpec: everything that decides a result, frozen, validated, and the same after a trip through JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic.functional_serializers import PlainSerializer
from pydantic.functional_validators import AfterValidator, BeforeValidator
from pydantic_core.core_schema import ValidationInfo

from peftcore import errors
from peftcore.registry import METHODS, TASKS

FORWARD = ("backbone", "pretrained", "weights", "device", "task", "normalisation", "resize", "precision",
           "augmentation", "cache_features", "cache_precision")  # fmt: skip

# What `select` means, in the words that stand beside an accuracy.
SELECTED = {"last": "last epoch", "val": "best epoch by validation accuracy"}

LARGEST = 4096  # pixels on a side of an image

# Fields added later, with the value that was implicit before.
LATER = {"cache_precision": "fp32", "clip": None, "compile": False, "image_size": None, "resize": "stretch",
         "select": "last"}  # fmt: skip


class Settings(BaseModel):
    """A frozen pydantic model whose errors are sentences of ours and whose unknown keys name the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def __init__(self, /, **settings: Any):
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise as_sentence(type(self), error) from None

    def __setattr__(self, name: str, value: Any) -> None:
        raise errors.InvalidSetting(
            f"{_owner(type(self))} is frozen, so {name} cannot be set on it; take a changed copy: "
            f".replace({name}={value!r})."
        )

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: Any, info: ValidationInfo) -> Any:
        """One text is a list of one. Python counts True as 1; as a rank or a rate it is a mistake."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, str) and get_origin(kind) is tuple:
            return (value,)
        if _holds_bool(value) and "bool" not in str(kind):
            wanted = "a number" if "int" in str(kind) or "float" in str(kind) else "a value"
            raise ValueError(f"{wanted}, not true or false")
        return value

    def replace(self, **changes: Any) -> Self:
        """A validated copy with some fields changed."""
        return type(self)(**{**dict(self), **changes})


def _owner(model: type[BaseModel]) -> str:
    return getattr(model, "name", None) or model.__name__


def _holds_bool(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, (list, tuple)) and any(map(_holds_bool, value)))


def allowed(info: FieldInfo) -> str | None:
    """The range of a number in words: 'at least 1 and at most 1024'; None for a field without one."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    bounds = [f"{say} {bound:.12g}" for name, say in words.items() for rule in info.metadata
              if (bound := getattr(rule, name, None)) is not None]  # fmt: skip
    return " and ".join(bounds) or None


def as_sentence(model: type[BaseModel], error: ValidationError, at: tuple[str, ...] = ()) -> errors.HeadroomError:
    """The first fault of a ValidationError as one sentence with the range that is allowed. `at`: where it was found."""
    faults: list[Any] = [{**fault, "loc": (*at, *fault["loc"])} for fault in error.errors()]
    path, value = faults[0]["loc"] or ("value",), faults[0]["input"]
    if faults[0]["type"] == "extra_forbidden":
        return errors.unknown(f"setting of {_owner(model)} called", path[0], model.model_fields)
    here = [fault for fault in faults if fault["loc"][:1] == path[:1]] or faults
    here = [fault for fault in here if fault["type"] != "too_short"] or here  # since another left it out
    # Where a field is a choice of types, each of them has a fault of its own: one sentence names them all.
    field = ".".join(map(str, path if len(here) == 1 else path[:1]))
    reasons = dict.fromkeys(_reason(fault, model.model_fields.get(path[0])) for fault in here)
    must = " or ".join(reasons)
    return errors.InvalidSetting(f"{_owner(model)}: {field} = {value!r} is not possible; it must be {must}.")


def _reason(fault: Mapping[str, Any], info: FieldInfo | None) -> str:
    """What pydantic says a value should be, in our words where its own read badly."""
    out_of_range = fault["type"].startswith(("greater_than", "less_than")) and len(fault["loc"]) == 1
    if out_of_range and info and (bounds := allowed(info)):
        return bounds
    if fault["type"] == "too_short":
        return "at least " + {1: "one"}.get(least := fault["ctx"]["min_length"], str(least))
    ours = {"tuple_type": "a list", "missing": "given"}.get(fault["type"]) or fault.get("ctx", {}).get("error")
    return str(ours or fault["msg"].removeprefix("Input should be "))


def as_method(value: Any) -> Any:
    """'last', {'name': 'last', 'rank': 16} or a Method, as a Method."""
    settings = {"name": value} if isinstance(value, str) else value
    if isinstance(settings, Mapping) and "name" in settings:
        settings = dict(settings)
        return METHODS.load(str(settings.pop("name"))).METHOD(**settings)
    if hasattr(value, "settings"):
        return value
    example = "a method's name, or its settings with a 'name' among them, such as {'name': 'lora', 'rank': 8}"
    raise ValueError(f"{example}; got {value!r}")


def _known_task(name: str) -> str:
    TASKS.load(name.partition(":")[0])
    return name


def _without(defaults: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if defaults.get(name, ...) != value}


class RunSpec(Settings):
    """One fine-tune: backbone, method, task, recipe and seed.

    Raises:
        UnknownName: an unknown field, method or task; the nearest known one is named.
        InvalidSetting: a value outside its range.
    """

    backbone: str = Field("vit_micro", description="A timm architecture, an embedded backbone, or hf-hub:OWNER/NAME.")
    method: Annotated[Any, BeforeValidator(as_method), PlainSerializer(lambda m: m.settings())] = Field(
        "last", description="The PEFT method and its settings."
    )
    task: Annotated[str, AfterValidator(_known_task)] = Field("digits", description="A task by name.")
    epochs: int = Field(10, ge=1, le=1000, description="Passes over the training images.")
    batch_size: int = Field(64, ge=1, le=4096, description="Images per optimizer step.")
    lr: float = Field(1e-3, gt=0, le=10, description="Peak learning rate of AdamW; cosine decay to zero.")
    weight_decay: float | None = Field(None, ge=0, le=10, description="AdamW's; default 1e-4, side methods 0.05.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises linearly.")
    clip: float | None = Field(None, gt=0, le=1e4, description="Largest norm of all gradients; none, or the recipe's.")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="bf16 runs the forward under autocast.")
    image_size: int | None = Field(
        None, ge=1, le=LARGEST, description="Pixels on a side, a multiple of the backbone's patch; by default its own."
    )
    normalisation: Literal["backbone", "imagenet", "half", "none"] = Field(
        "backbone", description="Mean and deviation of the inputs: the backbone's own, ImageNet's, 0.5/0.5, or none."
    )
    resize: Literal["stretch", "crop"] = Field(
        "stretch",
        description="How images of another size reach the backbone's, bicubic. stretch: both sides, whatever their "
        "ratio. crop: the shorter side a little larger (the backbone's own crop share), then the middle.",
    )
    augmentation: Literal["none", "light", "randaugment"] = Field(
        "none",
        description="Of training images, anew in every epoch, so features are not cached. light: a shift by up to 1/16 "
        "and a mirror image. randaugment: two of 14 operations at magnitude 9. Changes that alter labels are left out.",
    )
    cache_features: Literal["auto", "disk"] | bool = Field(
        "auto",
        description="Compute a side method's frozen features once and keep them, in memory or else on disk; auto does "
        "so where they fit. disk keeps them for later runs as well.",
    )
    cache_precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="How cached features are kept: exactly, or rounded to bf16 in half of the bytes."
    )
    select: Literal["last", "val"] = Field(
        "last",
        description="Whose weights are tested and kept: the last epoch's, or those of the epoch with the best "
        "validation accuracy (ties keep the earlier epoch), which takes memory for a copy of the trained weights.",
    )
    compile: bool = Field(False, description="Use torch.compile, for in-backbone methods; the first step takes long.")
    pretrained: bool = Field(True, description="Load pretrained weights; False means random weights, on purpose.")
    weights: str | None = Field(None, description="A local file or folder that holds the backbone's weights.")
    device: str = Field("auto", description="auto takes the GPU where there is one; cpu and cuda force it.")
    seed: int = Field(0, ge=0, lt=2**31, description="Decides every random number but a random backbone's weights.")

    @model_validator(mode="after")
    def _method_fits_the_run(self) -> RunSpec:
        self.method.check_run(self.epochs)
        if self.compile and self.method.kind == "side":
            raise errors.InvalidSetting(
                f"compile=True is for in-backbone methods; {self.method.card.title} reads frozen features, which are "
                "computed once. Use cache_features instead."
            )
        return self

    @property
    def decay(self) -> float:
        """The weight decay in force: the one given or its kind's default."""
        usual = 0.05 if self.method.kind == "side" else 1e-4
        return usual if self.weight_decay is None else self.weight_decay

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def of(cls, spec: Any) -> RunSpec:
        """A RunSpec as it is, or made from a dict of its fields. Raises InvalidSetting for anything else."""
        if isinstance(spec, cls):
            return spec
        if isinstance(spec, Mapping):
            return cls(**spec)
        raise errors.InvalidSetting(
            f"A run is described by a RunSpec, or by a dict of its fields such as {{'method': 'last', 'epochs': 5}}; "
            f"got {spec!r}."
        )

    from_dict: ClassVar[Any] = of

    @classmethod
    def from_json(cls, text: str) -> RunSpec:
        try:
            return cls.of(json.loads(text))
        except (ValueError, RecursionError) as error:
            raise errors.InvalidSetting(f"This is not JSON: {error}.") from None

    @property
    def forward(self) -> tuple[str, ...]:
        """What decides a side method's frozen forward: runs that agree on it can share the features."""
        size = [str(self.image_size)] if self.image_size else []  # at the backbone's own, keys are as they were
        return (*(str(getattr(self, name)) for name in FORWARD), *size)

    @property
    def key(self) -> str:
        """What identifies the run: a hash of the whole sorted spec, defaults included. Fields added later count only
        where they differ from what was implicit before, so that older runs and logs keep their keys."""
        counted = _without(LATER, self.to_dict())
        counted["method"] = _without(self.method.later, counted["method"])
        return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:12]
