"""File names that somebody else chose: which are safe, which are ignored, which are the same file on some disks."""

from __future__ import annotations

import re
import unicodedata

from peftcore import errors

LONGEST_PART, LONGEST_PATH, DEEPEST = 255, 1024, 16  # bytes in UTF-8, as common file systems have; nested folders
_JOINERS = "\u200c\u200d"  # invisible, but part of Persian words and of emoji
_OF_SYSTEMS = (
    "__macosx", "thumbs.db", "desktop.ini", "_ds_store", "ehthumbs.db", "icon\r", "@eadir", "$recycle.bin",
    "lost+found", "system volume information", "__pycache__",
)  # fmt: skip


def shown(name: str, most: int = 80) -> str:
    """A name fit for a sentence: invisible characters are escaped, and the middle of a long name is left out."""
    seen = "".join(c if c.isprintable() or c in _JOINERS else c.encode("unicode_escape").decode() for c in name)
    return f"'{seen if len(seen) <= most else seen[: most // 2] + '…' + seen[-most // 2 :]}'"


def means_nothing(part: str) -> bool:
    """Whether a file or folder is hidden or a system's own by its name: .DS_Store, ._1.jpg, __MACOSX, Thumbs.db."""
    return part.startswith(".") or part.casefold() in _OF_SYSTEMS


def parts(name: str) -> tuple[str, ...] | None:
    """The folders and the file of a path in an archive, in NFC; None where it is ignored (._x, __MACOSX, '.').

    Backslashes separate too, as in archives from Windows.

    Raises BadData: a name that leads out of the folder, holds control characters or is too long or too deep.
    """
    plain = unicodedata.normalize("NFC", name.replace("\\", "/"))
    if plain.startswith("/") or re.match(r"[A-Za-z]:", plain):
        raise _bad(name, "is an absolute path")
    found = tuple(part for part in plain.split("/") if part not in ("", "."))
    if ".." in found:
        raise _bad(name, "leads out of the folder")
    if any(map(means_nothing, found)):
        return None
    for c in plain:
        if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c not in _JOINERS:
            what = "bytes that are not UTF-8" if unicodedata.category(c) == "Cs" else "invisible characters"
            raise _bad(name, f"has {what}")
    if any(len(part.encode()) > LONGEST_PART for part in found) or len(plain.encode()) > LONGEST_PATH:
        raise _bad(name, f"is longer than {LONGEST_PART} bytes")
    if len(found) > DEEPEST:
        raise _bad(name, f"is nested deeper than {DEEPEST} folders")
    return found or None


def _bad(name: str, what: str) -> errors.BadData:
    return errors.BadData(f"The name {shown(name)} {what}; rename it and pack the images again.")


class Taken:
    """The paths taken so far, to notice two that are one file on some disks: 'A.png' and 'a.png'."""

    def __init__(self) -> None:
        self._spelt: dict[str, tuple[str, bool]] = {}  # casefolded path: (its spelling, whether it is a folder)

    def take(self, found: tuple[str, ...], folder: bool = False) -> None:
        """Raises BadData: the path is taken, is both a file and a folder, or differs from another only in case."""
        for depth in range(1, len(found) + 1):
            path = "/".join(found[:depth])
            is_folder = folder or depth < len(found)
            known = self._spelt.setdefault(path.casefold(), (path, is_folder))
            new = known[0] is path
            if known != (path, is_folder) or not (new or is_folder):
                where = f"{shown(known[0])} and {shown(path)}" if known[0] != path else f"{shown(path)} twice"
                raise errors.BadData(
                    f"It holds {where}, the same file on many disks; rename one and upload the images again."
                )
