"""Which folders of this machine a name may lead to: with HEADROOM_DATA, those below the one that it names.

A name comes from a link as well as from a command line, so it is looked at where files are read.
"""

from __future__ import annotations

import os
from pathlib import Path

from peftcore import errors
from peftcore.backbone.weights import REMOTE

VARIABLE = "HEADROOM_DATA"
NONE = "none"  # its value where no folder may be named, as in a room whose host named none
LOCAL = "local-dir:"


def inside(path: Path, root: Path) -> bool:
    """Whether a path leads nowhere out of a folder, through '..' or a link."""
    return Path(os.path.realpath(path)).is_relative_to(Path(os.path.realpath(root)))


def confined(name: str | Path, hint: str) -> Path:
    """The path that a name means, absolute; where HEADROOM_DATA names a folder, relative ones start there.

    `hint`: what else to write, for the error.

    Raises:
        BadData: it leads out of HEADROOM_DATA, or no folder may be named.
    """
    path, within = Path(name).expanduser(), os.environ.get(VARIABLE)
    if not within:
        return path.absolute()
    if within == NONE:
        raise errors.BadData(
            f"{path} cannot be read: no folder or file of this machine may be named here ({VARIABLE}={NONE}). Upload "
            f"the images, or let whoever runs this Headroom set {VARIABLE} to a folder that may be read."
        )
    root = Path(within).expanduser()
    found = (root / path).absolute()
    if not inside(found, root):
        raise errors.BadData(
            f"{path} is not below {within}, and on this machine only what lies there is read ({VARIABLE}). {hint}"
        )
    return found


def is_remote(name: str) -> bool:
    """Whether a backbone's name says itself where its weights are.

    Raises:
        BadData: it is a local folder that may not be named.
    """
    if name.startswith(LOCAL) and os.environ.get(VARIABLE):
        folder = name.removeprefix(LOCAL)
        if not Path(folder).is_absolute():  # which timm would look for elsewhere
            raise errors.BadData(f"{name} cannot be read: write the whole path of a folder, {LOCAL}/...")
        confined(folder, f"Write {LOCAL} and the whole path of a folder there.")
    return name.startswith(REMOTE)
