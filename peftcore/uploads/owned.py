"""Where what one person brings is kept: in a folder of their own, so that it makes room for nobody else's."""

from __future__ import annotations

from pathlib import Path

MARK = "of-"  # begins the name of a person's folder


def folder(inside: Path, owner: str) -> Path:
    """The folder of this person; `inside` itself where nobody has a name."""
    return inside / f"{MARK}{owner}" if owner else inside


def folders(inside: Path) -> dict[str, Path]:
    """By owner, all folders in which something may be kept."""
    return {"": inside} | {path.name.removeprefix(MARK): path for path in sorted(inside.glob(f"{MARK}*"))}
