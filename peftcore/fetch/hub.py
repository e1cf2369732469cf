"""Files of the Hugging Face hub: weights into its client's own cache, files of data sets where they are wanted."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError

from peftcore import errors
from peftcore.fetch import transfer
from peftcore.fetch.places import hub
from peftcore.fetch.transfer import Tell

Answer = TypeVar("Answer")


def fetch(repo: str, file: str, tell: Tell, revision: str = "main") -> Path:
    """Downloads a file of a model's repository by the hub's client into the client's cache, where timm finds it.

    Raises:
        EntryNotFoundError: the repository has no such file.
        DataUnavailable: there is no such repository, or it is not public.
        transfer.NETWORK, OSError: no way to the hub, no room.
    """
    from huggingface_hub import hf_hub_download

    address: dict[str, Any] = {"revision": revision, "endpoint": hub(), "tqdm_class": _bar(tell)}
    return Path(_asked(repo, "model", lambda: hf_hub_download(repo, file, **address)))


def fetch_data(repo: str, file: str, commit: str, goal: Path, tell: Tell) -> Path:
    """Downloads a file of a data set to `goal`, unless it is there.

    Ours, since the hub's client keeps nothing of a download that was stopped: this one resumes. The file's SHA-256 is
    checked where the hub gives one. Raises as `fetch`, and DataUnavailable where what came is damaged.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(repo, file, repo_type="dataset", revision=commit, endpoint=hub())
    about = _asked(repo, "dataset", lambda: get_hf_file_metadata(url, endpoint=hub()))
    digest = re.fullmatch("[0-9a-f]{64}", about.etag or "")
    check = transfer.has_digest(digest[0]) if digest else lambda _: None
    try:
        return transfer.download(url, goal, tell, build_hf_headers(), check)
    except transfer.Damaged as error:
        raise errors.DataUnavailable(
            f"What {hub()} sent for {file} of {repo} is damaged: {error}; nothing of it was kept. Try again."
        ) from error


def listing(repo: str, revision: str) -> tuple[str, dict[str, int]]:
    """The commit of a data set's revision, and the size in bytes of each of its files. Raises as `fetch`."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub())
    about = _asked(repo, "dataset", lambda: api.dataset_info(repo, revision=revision, files_metadata=True, timeout=20))
    return about.sha or revision, {file.rfilename: file.size or 0 for file in about.siblings or ()}


def cached(repo: str, file: str, kind: str, revision: str) -> Path | None:
    """A file that is in the hub's cache, without asking the hub."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, repo_type=kind, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _bar(tell: Tell) -> type:
    """A progress bar for the hub's client that shows nothing and calls `tell`, which may raise to stop the download."""
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **how: Any):
            super().__init__(*args, **how | {"disable": True})
            tell(self.n, self.total)

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            tell(int(self.n), self.total)

        # With both of these the client counts what is written here, and not a second time what the network sends.
        def update_transfer(self, n: float) -> None:
            pass

        def set_transfer_postfix_str(self, *_: Any, **__: Any) -> None:
            pass

    return Bar


def _asked(repo: str, kind: str, question: Callable[[], Answer]) -> Answer:
    """What the hub answers; its client's errors as ours or the network's."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HTTPError,
        LocalEntryNotFoundError,
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
            f"The {what} {repo} is open only to those who accept its terms: do so on {hub()}, and put your token into "
            "HF_TOKEN."
        ) from error
    except RepositoryNotFoundError as error:
        raise errors.DataUnavailable(
            f"{hub()} has no public {what} {repo!r}. Check the spelling, OWNER/NAME; for a private one, put your token "
            "into HF_TOKEN."
        ) from error
    except (HTTPError, OfflineModeIsEnabled, LocalEntryNotFoundError) as error:
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
        raise URLError(transfer.why(cause)) from error
