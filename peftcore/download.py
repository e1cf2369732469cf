"""Weights fetched from the model hub into a folder, whole or not at all."""

from __future__ import annotations

import errno
import http.client
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import timm
import torch

from . import embedded, errors
from .backbone import load_backbone
from .weights import ON_THE_HUB, REMOTE, first_line, folder, repository, tagged, whole

PIECE = 1 << 20  # bytes read at a time: how often a bar moves and Ctrl-C is heard
PATIENCE = 30  # seconds without a byte


def address(repo: str, file: str) -> str:
    """Where the hub (HF_ENDPOINT, else huggingface.co) keeps a file."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(repo, file)


def size(name: str) -> int:
    """About how many bytes a timm name's weights are to download: fp32, with the classifier that they come with.

    Raises:
        UnknownName: no such backbone or tag.
    """
    with torch.device("meta"):
        module = timm.create_model(tagged(name), pretrained=False)
    return 4 * sum(tensor.numel() for tensor in module.state_dict().values())


def fetch(name: str, to: Path | None = None, tell: Callable[[int, int | None], None] = lambda *_: None) -> Path:
    """Downloads a timm backbone's pretrained weights, proves that they load, and returns their file.

    The file is `to`/NAME.TAG.safetensors, `to` being HEADROOM_WEIGHTS unless given; one that is there and whole stays.
    Until it is whole and loads it lies in a folder of its own, which goes with any error or Ctrl-C; the next call begins
    again. `tell(bytes so far, bytes in all or None)` follows each piece.

    Raises:
        UnknownName: no such backbone or tag.
        WeightsUnavailable: nothing to fetch under this name, no way to the hub, no room, or the file does not load.
    """
    if name in embedded.names() or name.startswith(REMOTE):
        why = "comes with Headroom" if name in embedded.names() else "names its own place"
        raise errors.WeightsUnavailable(f"{name} {why}: there is nothing to fetch. Fetch a timm name.")
    name, to = tagged(name), to or folder()
    goal = to / f"{name}.safetensors"
    if whole(goal):
        return goal
    repo = repository(name)
    if not repo:
        raise errors.WeightsUnavailable(
            f"timm knows no repository on the model hub that holds weights of {name}; download them by hand and name "
            "the file with weights=..."
        )
    try:
        to.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetching-", dir=to) as place:
            part = Path(place) / goal.name
            _download(repo, part, tell)
            if not whole(part):
                raise errors.WeightsUnavailable(
                    f"What the model hub sent for {name} is no whole safetensors file; nothing was kept. Fetch it again."
                )
            load_backbone(name, weights=part)
            part.replace(goal)
    except errors.HeadroomError:
        raise
    except (URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        why = error.reason if type(error) is URLError else error
        raise errors.WeightsUnavailable(
            f"{name} could not be downloaded from {address(repo, ON_THE_HUB[0])} ({first_line(why)}); nothing was "
            "kept. Connect to the network and fetch it again, or copy the file from a machine that has it to "
            f"{goal}."
        ) from error
    except OSError as error:
        room = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "make room or choose" if room else "choose"
        raise errors.WeightsUnavailable(
            f"{name} cannot be kept in {to}: {error.strerror or error}; nothing was kept. To mend it, {remedy} another "
            "folder with HEADROOM_WEIGHTS."
        ) from error
    return goal


def _download(repo: str, part: Path, tell: Callable[[int, int | None], None]) -> None:
    """The repository's weights into `part`. Raises OSError, and http.client's errors where the hub hangs up early."""
    with _answer(repo) as answer, part.open("wb") as file:
        length = answer.headers.get("Content-Length")
        total = int(length) if length else None
        free = shutil.disk_usage(part.parent).free
        if total and total > free:
            raise OSError(errno.ENOSPC, f"{total / 1e6:,.0f} MB do not fit into the {free / 1e6:,.0f} MB that are free")
        done = 0
        tell(done, total)
        while piece := answer.read(PIECE):
            file.write(piece)
            done += len(piece)
            tell(done, total)
    if total and done < total:
        raise http.client.IncompleteRead(b"", total - done)


def _answer(repo: str):
    """The hub's answer for the first of the names under which it keeps weights."""
    for file in ON_THE_HUB:
        try:
            return urlopen(address(repo, file), timeout=PATIENCE)
        except HTTPError as error:
            if error.code != 404 or file == ON_THE_HUB[-1]:
                raise
    raise AssertionError
