"""Where a backbone's weights come from: a local file or folder, the hub's cache, or the hub itself."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from peftcore import errors
from peftcore.backbone import embedded
from peftcore.backbone.curated import CURATED
from peftcore.home import home

INDEX = ".index.json"  # names the files of a set of weights that is spread over several
KINDS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar", ".npz")
_SHARD = re.compile(r"(.+)-(\d+)-of-(\d+)(\.\w+)")
ON_THE_HUB = ("model.safetensors", "open_clip_model.safetensors")  # what timm asks a repository for, in this order
USUAL = (*ON_THE_HUB, f"model.safetensors{INDEX}", "pytorch_model.bin", f"pytorch_model.bin{INDEX}")
REMOTE = ("hf-hub:", "hf_hub:", "local-dir:")  # names that say themselves where their weights are


@dataclass(frozen=True)
class Origin:
    """The file that a backbone's weights were read from, whole.

    `sha256`: of the file; of shards, of their bytes in the order of their names. `names`: how its names were read where
    they are not timm's own. `left_over`: what it holds beside the backbone, such as a classifier. `resampled`: the tensors
    that timm fitted to another image size.
    """

    file: str
    sha256: str
    names: str = ""
    left_over: list[str] = field(default_factory=list, hash=False)
    resampled: list[str] = field(default_factory=list, hash=False)

    @property
    def sentence(self) -> str:
        """'Weights: model.safetensors (sha256 1f2e3d4c), left over: head.weight, head.bias'."""
        more = {"left over": self.left_over, "resampled": self.resampled}
        words = [f"Weights: {Path(self.file).name} (sha256 {self.sha256[:8]})", *([self.names] if self.names else [])]
        return ", ".join([*words, *(f"{what}: {', '.join(names)}" for what, names in more.items() if names)])


@contextmanager
def no_waiting_for_an_unreachable_hub() -> Iterator[None]:
    """Without a route to the hub, answer from its local cache at once instead of after a minute of retries."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _hub_resolves(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _hub_resolves(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname
    if getproxies() and not proxy_bypass(host):  # then the proxy resolves names, not this machine
        return True
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return False
    return True


def folder() -> Path:
    """Where `python -m peftcore fetch` keeps weights: HEADROOM_WEIGHTS, else `weights` in Headroom's own folder."""
    chosen = os.environ.get("HEADROOM_WEIGHTS")
    return Path(chosen).expanduser() if chosen else home() / "weights"


def tagged(name: str) -> str:
    """A timm name with the tag of its weights: 'deit_tiny_patch16_224' is 'deit_tiny_patch16_224.fb_in1k'.

    Raises:
        UnknownName: the architecture has no such tag, or none at all.
    """
    if name in CURATED:
        return name  # no need of timm, which imports torch
    from timm.models import get_pretrained_cfg, list_models, list_pretrained

    try:
        config = get_pretrained_cfg(name)
    except RuntimeError:
        config = None
    if config is None:
        near = list_pretrained(f"{name.partition('.')[0]}.*") or list_models(pretrained=False)
        raise errors.unknown("pretrained backbone", name, near, most=8)
    return f"{config.architecture}.{config.tag}" if config.tag else config.architecture


def fetched(name: str) -> Path | None:
    """The file of a timm name in `folder()`, whole or not; None where there is none."""
    if name in embedded.names() or name.startswith(REMOTE):
        return None
    names = [name]
    if "." not in name:
        with suppress(errors.UnknownName):
            names = [tagged(name)]
    return next((file for n in names if (file := folder() / f"{n}.safetensors").is_file()), None)


def whole(file: Path) -> bool:
    """Whether a safetensors file is as long as its header says; of other kinds, whether it is there and not empty."""
    try:
        size = file.stat().st_size
        if file.suffix != ".safetensors":
            return size > 0
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 0 < length <= size - 8:
                return False
            header = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False
    return bool(ends) and size == 8 + length + max(ends)


def weights_file(path: Path) -> Path:
    """The file itself, or the one of a folder: the usual name first, else the only one.

    Raises:
        WeightsUnavailable: there is none, or it is not clear which.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise errors.WeightsUnavailable(f"There is no file or folder {str(path)!r}; give a .safetensors or .pth file.")
    usual = [file for name in USUAL if (file := path / name).is_file()]
    files = (file for file in sorted(path.iterdir()) if file.suffix in KINDS)
    found = usual[:1] or [*{_SHARD.sub(r"\1\4", file.name): file for file in files}.values()]  # of shards one
    if len(found) != 1:
        raise errors.WeightsUnavailable(
            f"{str(path)!r} holds {len(found)} weight files ({', '.join(KINDS)}); name the one to load."
        )
    return found[0]


def shards(file: Path) -> list[str]:
    """The names of all files over which one set of weights is spread, from its index or one of them; else none."""
    if file.name.endswith(INDEX):
        return sorted({Path(name).name for name in json.loads(file.read_text())["weight_map"].values()})
    if match := _SHARD.fullmatch(file.name):
        stem, number, most = match[1], match[2], int(match[3])
        return [f"{stem}-{i:0{len(number)}d}-of-{match[3]}{match[4]}" for i in range(1, most + 1)]
    return []


def parts(file: Path) -> list[Path]:
    """The files that hold a set of weights, whole: this one, or its shards. Raises WeightsUnavailable where one is not."""
    names = shards(file)
    if missing := [name for name in names if not (file.parent / name).is_file()]:
        raise errors.WeightsUnavailable(
            f"it is one set of weights in {len(names)} files, and {len(missing)} of them are not beside it: "
            f"{', '.join(missing[:3])}; copy them there"
        )
    files = [file.parent / name for name in names] or [file]
    if not all(map(whole, files)):
        raise errors.WeightsUnavailable("it is empty, damaged or cut short; fetch or copy it again")
    return files


def first_line(error: object) -> str:
    """Of an error's text; a line that ends in a colon says nothing without the next one."""
    lines = str(error).strip().splitlines()
    while len(lines) > 1 and lines[0].rstrip(".").endswith(":"):
        lines[:2] = [f"{lines[0].rstrip('.')} {lines[1].strip()}"]
    return (lines[0][:300] if lines else type(error).__name__).rstrip(".")


def why_no_weights(name: str, error: object) -> str:
    """The sentence where a backbone's pretrained weights are neither here nor could be downloaded."""
    fetch = f"fetch them on a machine that has one (python -m peftcore fetch {name}) and name the folder in HEADROOM_WEIGHTS, "
    return (
        f"The pretrained weights of {name} are not on this machine and could not be downloaded ({first_line(error)}). "
        f"Connect to the network and try again, {'' if name.startswith(REMOTE) else fetch}give a local file with "
        "weights=..., choose an embedded backbone such as vit_micro, or choose random weights on purpose with "
        "pretrained=False."
    )
