"""Limits on a user's images, each with an environment variable HEADROOM_UPLOAD_<NAME>."""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from peftcore import errors
from peftcore.spec import allowed

PREFIX = "HEADROOM_UPLOAD_"


class Limits(BaseModel):
    """Sizes in bytes, images in pixels. `Limits.here()` reads the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: int = Field(100_000, ge=1, description="entries in an archive or a folder, subfolders included")
    archive: int = Field(200 * 2**20, ge=1, description="bytes in an upload, packed")
    bytes: int = Field(4 * 10**9, ge=1, description="bytes on disk, unpacked")
    ratio: int = Field(200, ge=1, description="unpacked bytes per packed byte, after the first 10 MB")
    pixels: int = Field(50_000_000, ge=1, le=175_000_000, description="pixels (width times height) in one image")
    all_pixels: int = Field(20 * 10**9, ge=1, description="pixels in all images of a set together; in a room 5 × 10⁹")
    side: int = Field(20_000, ge=1, description="pixels on the longer side of one image")
    classes: int = Field(5_000, ge=2, description="classes in a set")
    table: int = Field(20 * 10**6, ge=1, description="bytes in a table of labels")

    @classmethod
    def here(cls) -> Limits:
        """The limits that the environment sets. Raises InvalidSetting naming the variable with an invalid value."""
        said = {name: text for name in cls.model_fields if (text := os.environ.get(PREFIX + name.upper()))}
        try:
            return cls(**{name: _number(text) for name, text in said.items()})
        except ValidationError as error:
            bad = str(error.errors()[0]["loc"][0])
            raise errors.InvalidSetting(
                f"{PREFIX}{bad.upper()}={said[bad]} is not possible; it must be a whole number, "
                f"{allowed(cls.model_fields[bad])}."
            ) from None


def _number(text: str) -> float | str:
    try:
        return float(text)  # so that 2e9 is allowed
    except ValueError:
        return text


def more(name: str) -> str:
    """The end of a sentence about a limit: how to raise it."""
    return f"or allow more with {PREFIX}{name.upper()}"


def size(count: int) -> str:
    """Bytes as people read them: '3 bytes', '20 kB', '1.5 GB'."""
    for power, unit in ((9, "GB"), (6, "MB"), (3, "kB")):
        if count >= 10**power:
            return f"{count / 10**power:.3g} {unit}"
    return "1 byte" if count == 1 else f"{count} bytes"
