"""One file from an address to its place, whole or not at all. What has come waits beside it for the next call.

Ours, since a stopped download is resumed here: huggingface_hub deletes what has come, torchvision counts it as whole.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import re
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, getproxies, proxy_bypass, urlopen

from filelock import FileLock

from peftcore import errors

PIECE = 1 << 18  # bytes read at a time at most; a bar moves and a stop takes effect after each
PATIENCE = 30  # seconds without a byte
REACH_SECONDS = 5  # until a server that does not answer counts as unreachable
LOOK_SECONDS = 0.1  # how often somebody who waits for another's download looks whether it has ended
PARTS = ".parts"  # the folder beside the file's own place for what is not whole yet

# Bytes so far and bytes in all, None where the server does not say; whatever it raises stops the download.
Tell = Callable[[int, int | None], None]

# What a network may raise; any other OSError is the disk's.
NETWORK = (URLError, TimeoutError, ConnectionError, http.client.HTTPException)


class Damaged(errors.HeadroomError):
    """What came is not what was promised; nothing of it was kept."""


def download(
    url: str,
    goal: Path,
    tell: Tell = lambda *_: None,
    headers: Mapping[str, str] | None = None,
    check: Callable[[Path], None] = lambda _: None,
    here: Callable[[Path], bool] = Path.is_file,
) -> Path:
    """Downloads `url` to `goal`, unless it is `here`, and returns it.

    Until all has come and `check` has taken it, it lies in a folder `.parts` beside its place. A download that stops
    for whatever reason resumes there if the server's ETag or date proves that the file is still the same. Two that want
    one file wait for each other. `headers` go to the address alone, not to where it may redirect.

    Raises:
        NETWORK, OSError: as they come; `why` puts them into words. What has come is kept if the download can resume.
        HeadroomError: by `check`; what has come is not kept.
    """
    part = goal.parent / PARTS / goal.name
    note = part.with_name(part.name + ".json")
    try:
        with only_one(part.with_name(part.name + ".lock"), tell):
            if not here(goal):
                try:
                    _receive(url, part, note, tell, headers or {})
                    check(part)
                except BaseException as error:
                    if isinstance(error, errors.HeadroomError) or not _begun(url, part, note)[0]:
                        part.unlink(missing_ok=True)
                        note.unlink(missing_ok=True)
                    raise
                part.replace(goal)
                note.unlink()
    finally:
        with suppress(OSError):
            part.parent.rmdir()  # unless something is on its way
    return goal


def name_of(url: str) -> str:
    """A file name for an address, different for different addresses."""
    tail = re.sub(r"[^A-Za-z0-9._-]+", "_", urlsplit(url).path.rpartition("/")[2])[-80:]
    return f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{tail}"


def kept(goal: Path) -> int:
    """Bytes that have come of a download to `goal` that was stopped."""
    part = goal.parent / PARTS / goal.name
    return part.stat().st_size if part.is_file() else 0


def in_words(size: int) -> str:
    """What is kept of a download that ended early, `size` in bytes."""
    return f"the {size / 1e6:,.1f} MB that have come are kept for the next time" if size else "nothing was kept"


def _receive(url: str, part: Path, note: Path, tell: Tell, headers: Mapping[str, str]) -> None:
    """Downloads `url` into `part`, resuming after the bytes that are there."""
    done, same, total = _begun(url, part, note)
    if done and done == total:
        tell(done, total)
        return
    must_reach(url)
    request = Request(url, headers={"User-Agent": "headroom"})
    for name, value in headers.items():
        request.add_unredirected_header(name, value)
    if done:
        request.add_header("Range", f"bytes={done}-")
        request.add_header("If-Range", same)
    with _opened(request, part) as answer:
        if not (done and answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {done}-")):
            done = 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if length else None
        same = answer.headers.get("ETag", "")
        if not same or same.startswith("W/"):  # a weak one does not promise equal bytes
            same = answer.headers.get("Last-Modified", "")
        free = shutil.disk_usage(part.parent).free
        if total and total - done > free:
            raise OSError(errno.ENOSPC, f"{total / 1e6:,.0f} MB do not fit into the {free / 1e6:,.0f} MB that are free")
        note.write_text(json.dumps({"url": url, "same": same, "total": total}))
        with part.open("r+b" if done else "wb") as file:
            file.seek(done)
            file.truncate()
            tell(done, total)
            while piece := answer.read1(PIECE):
                file.write(piece)
                done += len(piece)
                tell(done, total)
    if total and done < total:
        raise ConnectionError(f"the connection ended after {done / 1e6:,.1f} of {total / 1e6:,.1f} MB")


def _opened(request: Request, part: Path) -> http.client.HTTPResponse:
    try:
        return urlopen(request, timeout=PATIENCE)
    except HTTPError as error:
        if error.code != 416:  # of a range that it does not have: the file is another one now
            raise
        part.unlink()
        request.remove_header("Range")
        request.remove_header("If-range")
        return urlopen(request, timeout=PATIENCE)


def _begun(url: str, part: Path, note: Path) -> tuple[int, str, int | None]:
    """Bytes that are here, what proves that the rest is of the same file, and bytes in all; 0 without such a proof."""
    try:
        noted = json.loads(note.read_text())
        done = part.stat().st_size
        if noted["url"] == url and noted["same"] and not (noted["total"] and done > noted["total"]):
            return done, noted["same"], noted["total"]
    except (OSError, ValueError, LookupError, TypeError):
        pass
    return 0, "", None


@contextmanager
def only_one(lock: Path, tell: Tell) -> Iterator[None]:
    """Waits until no other thread or process holds `lock`, a file; meanwhile `tell(0, None)` may raise to stop it."""
    file = FileLock(lock, mode=0o600, thread_local=False)

    def must_stop() -> bool:
        tell(0, None)
        return False

    while not file.is_locked:
        with suppress(FileNotFoundError):  # its holder took the folder away at that moment
            file.acquire(poll_interval=LOOK_SECONDS, cancel_check=must_stop)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        file.release()


def must_reach(url: str) -> None:
    """Raises URLError within seconds where nobody answers at an address, instead of after minutes."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or (getproxies() and not proxy_bypass(parts.hostname or "")):
        return  # a proxy reaches it, not this machine
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=REACH_SECONDS).close()
    except OSError as error:
        raise URLError(error) from error


def has_digest(digest: str, algorithm: str = "sha256") -> Callable[[Path], None]:
    """A check for `download`: raises Damaged unless the file has this digest."""

    def check(file: Path) -> None:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, algorithm).hexdigest()
        if found != digest:
            raise Damaged(f"its {algorithm} is {found[:12]}… and should be {digest[:12]}…")

    return check


def why(error: BaseException) -> str:
    """A network's or a disk's error in words, without a full stop."""
    cause = error.reason if type(error) is URLError else error
    if isinstance(cause, TimeoutError):
        return "no answer in time"
    if isinstance(cause, socket.gaierror):
        return "its address is not known here, as without a network"
    if isinstance(cause, OSError) and not isinstance(cause, HTTPError) and cause.strerror:
        return cause.strerror
    lines = str(cause).strip().splitlines()
    return (lines[0][:300] if lines else type(cause).__name__).rstrip(".")


def no_room(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
