"""Files of the Hugging Face hub, into its own cache: what other tools have fetched is here, and what is fetched is theirs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.error import URLError

from peftcore import errors
from peftcore.backbone.weights import hub
from peftcore.fetch import transfer
from peftcore.fetch.transfer import Tell


def fetch(repo: str, file: str, tell: Tell, kind: str = "model", revision: str = "main") -> Path:
    """Downloads a file of a repository into the hub's cache and returns it there; one that is there stays.

    `kind`: "model" or "dataset". It goes on where a download of this function was stopped, and its SHA-256 is checked
    where the hub says it.

    Raises:
        EntryNotFoundError: the repository has no such file.
        DataUnavailable: there is no such repository, or not for everybody, or what came is damaged.
        transfer.NETWORK, OSError: no way to the hub, no room.
    """
    from huggingface_hub import hf_hub_download, hf_hub_url
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import get_hf_file_metadata, repo_folder_name
    from huggingface_hub.utils import build_hf_headers

    address = {"repo_type": kind, "revision": revision, "endpoint": hub()}
    url = hf_hub_url(repo, file, **address)
    about = _asked(repo, kind, lambda: get_hf_file_metadata(url, endpoint=hub()))
    blob = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type=kind) / "blobs" / about.etag
    is_digest = re.fullmatch("[0-9a-f]{64}", about.etag)
    try:
        transfer.download(
            hf_hub_url(repo, file, **address | {"revision": about.commit_hash}),
            blob,
            tell,
            build_hf_headers(),
            *([transfer.has_digest(about.etag)] if is_digest else []),
        )
    except transfer.Damaged as error:
        raise errors.DataUnavailable(
            f"What {hub()} sent for {file} of {repo} is damaged: {error}; nothing of it was kept. Try again."
        ) from error
    return Path(_asked(repo, kind, lambda: hf_hub_download(repo, file, **address)))  # it only has to be given its name


def listing(repo: str, revision: str) -> tuple[str, dict[str, int]]:
    """The commit of a data set's revision, and the size in bytes of each of its files. Raises as `fetch`."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub())
    told = _asked(repo, "dataset", lambda: api.dataset_info(repo, revision=revision, files_metadata=True, timeout=20))
    return told.sha, {file.rfilename: file.size or 0 for file in told.siblings or ()}


def cached(repo: str, file: str, kind: str, revision: str) -> Path | None:
    """A file that is in the hub's cache, without asking the hub."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, repo_type=kind, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _asked(repo: str, kind: str, question: Any) -> Any:
    """What the hub answers; its client's errors as ours or the network's."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HTTPError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    transfer.must_reach(hub())
    what = {"model": "model", "dataset": "data set"}[kind]
    try:
        return question()
    except (RemoteEntryNotFoundError, RevisionNotFoundError):
        raise
    except GatedRepoError as error:
        raise errors.DataUnavailable(
            f"The {what} {repo} is given only to those who accept its terms: do so on {hub()}, and name your token in "
            "HF_TOKEN."
        ) from error
    except RepositoryNotFoundError as error:
        raise errors.DataUnavailable(
            f"{hub()} has no {what} {repo!r} for everybody. Check the spelling, OWNER/NAME; for a private one name your "
            "token in HF_TOKEN."
        ) from error
    except (HTTPError, OfflineModeIsEnabled) as error:
        raise URLError(transfer.why(error)) from error
