"""Whether a backbone's weights are on this machine, and from where they would come. Nothing here uses the network."""

from __future__ import annotations

from pathlib import Path

from peftcore import errors
from peftcore.backbone import embedded, weights
from peftcore.backbone.curated import CURATED


def hub() -> str:
    """The model hub's address: HF_ENDPOINT, else huggingface.co."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def repository(name: str) -> str | None:
    """The hub's repository 'OWNER/NAME' of a timm name; None where timm names none."""
    if name in CURATED:
        return f"timm/{name}"
    from timm.models import get_pretrained_cfg

    return get_pretrained_cfg(weights.tagged(name)).hf_hub_id


def here(name: str) -> bool:
    """Whether a backbone's weights are on this machine, whole: embedded, fetched, or in the hub's cache. No network.

    Raises:
        UnknownName: as `tagged`, or no name of a repository.
    """
    if name in embedded.names():
        return True
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    repo = name.partition(":")[2].partition("@")[0] if name.startswith(weights.REMOTE) else repository(name)
    files = [weights.fetched(name)]
    if repo and not name.startswith("local-dir:"):
        try:
            files += [try_to_load_from_cache(repo, file) for file in (*weights.ON_THE_HUB, "pytorch_model.bin")]
        except HFValidationError:
            raise errors.UnknownName(f"{repo!r} names no repository of the hub; write hf-hub:OWNER/NAME.") from None
    # What the cache knows to be absent is an object, not a path.
    return any(weights.whole(Path(file)) for file in files if isinstance(file, (str, Path)))
