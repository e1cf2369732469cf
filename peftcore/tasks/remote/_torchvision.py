"""torchvision's downloads through ours, which report, stop and resume; files, addresses and checksums are its own."""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from peftcore import errors
from peftcore.fetch import transfer
from peftcore.fetch.transfer import Tell

# What unpacking a damaged archive, or a file that is not one, raises.
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, LookupError)


def _refuse(*_: Any, **__: Any) -> None:
    raise errors.DataUnavailable("This Python cannot unpack tar archives safely; use Python 3.11.4 or newer.")


# Python 3.11.4 brought the filter that keeps an archive below its folder.
_SAFELY: tuple[type, str, Any] = (
    (tarfile.TarFile, "extraction_filter", staticmethod(tarfile.data_filter))
    if hasattr(tarfile, "data_filter")
    else (tarfile.TarFile, "extractall", _refuse)
)
_patching = threading.Lock()  # one at a time per process, since torchvision is patched meanwhile


def kept(came: Path) -> str:
    """How much of the downloaded files is kept, in words."""
    files = [file for file in came.rglob("*") if file.is_file() and file.suffix != ".json"]
    return transfer.in_words(sum(file.stat().st_size for file in files))


@contextmanager
def our_downloads(came: Path, tell: Tell) -> Iterator[None]:
    """Makes torchvision download through `transfer`, which reports, stops and resumes. `came` holds the files.

    Its own download writes to the final name from the first byte on, so half a file would count as whole, and it needs
    a package for Google Drive that may not be installed. Checksums are still torchvision's. Archives may only write
    below their own folder.
    """
    from torchvision.datasets import pcam, utils

    def fetch(url: str, file: str | os.PathLike, *_: Any) -> None:
        one = transfer.download(url, came / transfer.name_of(url), tell)
        Path(file).unlink(missing_ok=True)
        try:
            os.link(one, file)
        except OSError:  # not every file system has links
            shutil.copyfile(one, file)

    def from_drive(id: str, root: str, filename: str | None = None, md5: str | None = None) -> None:
        file = Path(root) / (filename or id)
        file.parent.mkdir(parents=True, exist_ok=True)
        fetch(f"https://drive.usercontent.google.com/download?id={id}&export=download&confirm=t", file)
        if not utils.check_integrity(file, md5):
            raise RuntimeError("File not found or corrupted.")

    with _patching, ExitStack() as stack:
        for owner, attribute, ours in (
            (utils, "_urlretrieve", fetch),
            (utils, "_get_redirect_url", lambda url, max_hops=3: url),  # ours follows redirects itself
            (utils, "download_file_from_google_drive", from_drive),
            (pcam, "download_file_from_google_drive", from_drive),
            _SAFELY,
        ):
            stack.callback(setattr, owner, attribute, getattr(owner, attribute))
            setattr(owner, attribute, ours)
        yield
