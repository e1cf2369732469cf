"""How much a user's images may take: settings, each with an environment variable HEADROOM_UPLOAD_<NAME>."""

from __future__ import annotations

import os

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from peftcore import errors
from peftcore.spec import allowed

PREFIX = "HEADROOM_UPLOAD_"


class Limits(BaseModel):
    """Sizes in bytes, images in pixels. `Limits.here()` reads the environment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: int = Field(100_000, ge=1, description="entries of an archive or a folder, folders among them")
    archive: int = Field(200 * 2**20, ge=1, description="bytes of what is uploaded, packed")
    bytes: int = Field(4 * 10**9, ge=1, description="bytes on the disk, unpacked")
    ratio: int = Field(200, ge=1, description="unpacked bytes for each packed one, beyond the first 10 MB")
    pixels: int = Field(50_000_000, ge=1, le=175_000_000, description="width times height of one image")
    side: int = Field(20_000, ge=1, description="pixels on the longer side of one image")
    classes: int = Field(5_000, ge=2, description="classes of a set")
    table: int = Field(20 * 10**6, ge=1, description="bytes of a table of labels")

    @classmethod
    def here(cls) -> Limits:
        """As the environment says. Raises InvalidSetting naming the variable whose value is not possible."""
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
        return float(text)  # so that 2e9 is one
    except ValueError:
        return text


def more(name: str) -> str:
    """The end of a sentence about a limit: what to do."""
    return f"or allow more with {PREFIX}{name.upper()}"


def size(count: int) -> str:
    """Bytes as people read them: '3 bytes', '20 kB', '1.5 GB'."""
    for power, unit in ((9, "GB"), (6, "MB"), (3, "kB")):
        if count >= 10**power:
            return f"{count / 10**power:.3g} {unit}"
    return "1 byte" if count == 1 else f"{count} bytes"
