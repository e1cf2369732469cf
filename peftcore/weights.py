"""Where a backbone's weights come from: a local file or folder, the hub's cache, or the hub itself."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from . import errors


@contextmanager
def no_waiting_for_an_unreachable_hub():
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


def weights_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.is_dir():
        raise errors.WeightsUnavailable(f"There is no file or folder {str(path)!r}; give a .safetensors or .pth file.")
    found = [f for pattern in ("*.safetensors", "*.pth", "*.pt", "*.bin") for f in sorted(path.glob(pattern))]
    if len(found) != 1:
        raise errors.WeightsUnavailable(
            f"{str(path)!r} holds {len(found)} weight files (.safetensors, .pth, .pt, .bin); name the one to load."
        )
    return found[0]


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0][:300] if lines else type(error).__name__).rstrip(".")


def why_no_weights(name: str, weights: str | Path | None, error: BaseException) -> str:
    if weights is not None:
        return f"{str(weights)!r} does not hold weights of {name}: {first_line(error)}."
    return (
        f"The pretrained weights of {name} are not on this machine and could not be downloaded ({first_line(error)}). "
        "Connect to the network and try again, give a local file with weights=..., choose an embedded backbone such as "
        "vit_micro, or choose random weights on purpose with pretrained=False."
    )
