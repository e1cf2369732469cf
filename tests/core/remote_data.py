"""What stands in for data sets elsewhere: images of one colour, and an address in place of the hub's."""

from __future__ import annotations

from PIL import Image


def endpoint(monkeypatch, url: str) -> None:
    """Like HF_ENDPOINT, which is read once."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)


def picture(n: int, side: int = 6) -> Image.Image:
    """One colour a number."""
    return Image.new("RGB", (side, side), (n % 256, 255 - n % 256, n // 256))
