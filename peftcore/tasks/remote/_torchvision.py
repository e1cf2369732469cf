"""torchvision's downloads by ours, which report, stop and resume; files, addresses and checksums stay its own."""

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

from peftcore.fetch import transfer
from peftcore.fetch.transfer import Tell

# What a damaged archive, or a file that is not one, raises while it is unpacked and read.
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, LookupError)

_patching = threading.Lock()  # one at a time in a process: for its time torchvision fetches files by ours


def kept(came: Path) -> str:
    """What is kept of files that came, in words."""
    files = [file for file in came.rglob("*") if file.is_file() and file.suffix != ".json"]
    return transfer.in_words(sum(file.stat().st_size for file in files))


@contextmanager
def our_downloads(came: Path, tell: Tell) -> Iterator[None]:
    """Lets torchvision fetch files by `transfer`, which reports, stops and resumes. `came` holds them until the end.

    Its own download writes under the file's last name from the first byte on, so half a file would count as whole, and
    it asks Google Drive through a package that may not be there. Checksums stay torchvision's. Archives may write
    below their own folder only.
    """
    from torchvision.datasets import pcam, utils

    def fetch(url: str, file: str | os.PathLike, *_: Any) -> None:
        one = transfer.download(url, came / transfer.name_of(url), tell)
        Path(file).unlink(missing_ok=True)
        try:
            os.link(one, file)
        except OSError:  # not every file system can
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
            (tarfile.TarFile, "extraction_filter", staticmethod(tarfile.data_filter)),
        ):
            stack.callback(setattr, owner, attribute, getattr(owner, attribute))
            setattr(owner, attribute, ours)
        yield
