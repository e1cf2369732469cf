"""Weights downloaded from the model hub into a folder, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError

import timm
import torch

from peftcore import errors
from peftcore.backbone import embedded
from peftcore.backbone.load import load_backbone
from peftcore.backbone.weights import REMOTE
from peftcore.fetch import transfer
from peftcore.fetch.places import folder, repository, tagged
from peftcore.fetch.transfer import Tell
from peftcore.fetch.weight_files import ON_THE_HUB, whole


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


def fetch(name: str, to: Path | None = None, tell: Tell = lambda *_: None) -> Path:
    """Downloads a timm backbone's pretrained weights, proves that they load, and returns their file.

    The file is `to`/NAME.TAG.safetensors, `to` being HEADROOM_WEIGHTS unless given; one that is there and whole stays.
    Until it is whole and loads it lies in a folder of its own, `.parts`; a download that was stopped resumes there
    where the hub allows it. `tell(bytes so far, bytes in all or None)` follows each piece, and may raise to stop it.

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

    def check(part: Path) -> None:
        if not whole(part):
            raise errors.WeightsUnavailable(
                f"What the model hub sent for {name} is not a whole safetensors file; nothing was kept. Fetch it again."
            )
        load_backbone(name, weights=part)

    try:
        return _download(repo, goal, tell, check)
    except transfer.NETWORK as error:
        raise errors.WeightsUnavailable(
            f"{name} could not be downloaded from {address(repo, ON_THE_HUB[0])} ({transfer.why(error)}); "
            f"{_kept(goal)}. Connect to the network and try again, or copy the file from a machine that has it to "
            f"{goal}."
        ) from error
    except OSError as error:
        remedy = "make room or choose" if transfer.no_room(error) else "choose"
        raise errors.WeightsUnavailable(
            f"{name} cannot be kept in {to}: {transfer.why(error)}; {_kept(goal)}. To mend it, {remedy} another folder "
            "with HEADROOM_WEIGHTS."
        ) from error


def _download(repo: str, goal: Path, tell: Tell, check: Callable[[Path], None]) -> Path:
    """The first file that the repository has, of the names under which the hub keeps weights."""
    from huggingface_hub.utils import build_hf_headers

    for file in ON_THE_HUB:
        try:
            return transfer.download(address(repo, file), goal, tell, build_hf_headers(), check, whole)
        except HTTPError as error:
            if error.code != 404 or file == ON_THE_HUB[-1]:
                raise
    raise AssertionError


def _kept(goal: Path) -> str:
    return transfer.in_words(transfer.kept(goal))
