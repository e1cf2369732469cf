"""Where a backbone's weights lie on this machine, and where they come from otherwise.

Only `located` uses the network.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from peftcore import errors
from peftcore.backbone import embedded
from peftcore.backbone.weights import REMOTE, first_line
from peftcore.fetch import weight_files
from peftcore.fetch.confined import confined, inside
from peftcore.fetch.curated import CURATED
from peftcore.fetch.weight_files import ON_THE_HUB, USUAL, shards, whole
from peftcore.home import home


def hub() -> str:
    """The model hub's address: HF_ENDPOINT, else huggingface.co."""
    from huggingface_hub import constants

    return constants.ENDPOINT


@contextmanager
def no_waiting_for_an_unreachable_hub() -> Iterator[None]:
    """Without a route to the hub, its client answers from the local cache at once, not after a minute of retries."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _resolves(urlsplit(hub()).hostname or "")
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def offline() -> Iterator[None]:
    """Within it the hub's client answers from the local cache alone."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _resolves(host: str) -> bool:
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


def repository(name: str) -> str | None:
    """The hub's repository 'OWNER/NAME' of a timm name; None where timm names none."""
    if name in CURATED:
        return f"timm/{name}"
    from timm.models import get_pretrained_cfg

    return get_pretrained_cfg(tagged(name)).hf_hub_id


def fetched(name: str) -> Path | None:
    """The file of a timm name in `folder()`, whole or not; None where there is no such file."""
    if name in embedded.names() or name.startswith(REMOTE):
        return None
    names = [name]
    if "." not in name:
        with suppress(errors.UnknownName):
            names = [tagged(name)]
    return next((file for n in names if (file := folder() / f"{n}.safetensors").is_file()), None)


def here(name: str) -> bool:
    """Whether a backbone's weights are on this machine, whole: embedded, fetched, or in the hub's cache.

    Raises:
        UnknownName: as `tagged`, or not the name of a repository.
    """
    if name in embedded.names():
        return True
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    repo = name.partition(":")[2].partition("@")[0] if name.startswith(REMOTE) else repository(name)
    files: list[Any] = [fetched(name)]  # what the hub's cache knows to be absent is an object, not a path
    if repo and not name.startswith("local-dir:"):
        try:
            files += [try_to_load_from_cache(repo, file) for file in (*ON_THE_HUB, "pytorch_model.bin")]
        except HFValidationError:
            raise errors.UnknownName(f"{repo!r} names no repository of the hub; write hf-hub:OWNER/NAME.") from None
    return any(whole(Path(file)) for file in files if isinstance(file, (str, Path)))


def located(config: dict[str, Any]) -> Path:
    """The file that timm would load by a model's `pretrained_cfg`, downloaded where it is on the hub or at an address.

    Raises:
        arrival.UNREADABLE: there is no such file, or it cannot be had.
    """
    from huggingface_hub.errors import EntryNotFoundError
    from timm.models import _builder, _hub

    how, where = _builder._resolve_pretrained_source(config)
    if how == "hf-hub":
        repo, names = (where, USUAL) if isinstance(where, str) else (where[0], where[1:])
        for name in names:
            try:
                file = Path(_hub.download_from_hf(repo, name))
                break
            except EntryNotFoundError:
                if name == names[-1]:
                    raise
        for shard in shards(file):
            _hub.download_from_hf(repo, shard)
        return file
    if how == "url":
        return Path(_hub.download_cached_file(where, check_hash=False))
    if not how:
        raise RuntimeError("timm knows no weights of it")
    return weights_file(Path(where))


def weights_file(path: Path) -> Path:
    """The file of weights that a path means; of a folder, the one in it.

    Raises:
        BadData: HEADROOM_DATA does not let it be read. WeightsUnavailable: as `weight_files.weights_file`.
    """
    # What comes with Headroom is nobody's word, and is read also where no folder may be named.
    own = inside(path, embedded.BACKBONES)
    return weight_files.weights_file(path if own else confined(path, "Name a file or a folder there."))


def why_no_weights(name: str, error: object) -> str:
    """The message where a backbone's pretrained weights are neither on this machine nor could be downloaded."""
    fetch = (
        f"fetch them on a connected machine (python -m peftcore fetch {name}) and name the folder in HEADROOM_WEIGHTS, "
    )
    return (
        f"The pretrained weights of {name} are not on this machine and could not be downloaded ({first_line(error)}). "
        f"Connect to the network and try again, {'' if name.startswith(REMOTE) else fetch}give a local file with "
        "weights=..., choose an embedded backbone such as vit_micro, or choose random weights on purpose with "
        "pretrained=False."
    )
