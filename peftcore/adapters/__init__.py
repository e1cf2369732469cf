"""Adapters as files: save, load and merge. Never pickle. The formats of others are read and written by fetch."""

from typing import Any

from peftcore.registry import FETCH, lazily

_find = lazily(
    __name__,
    {"save": "save_adapter to_bytes describe FORMAT", "load": "load_adapter from_bytes trained_on",
     "merged": "merge save_merged plain_copy"},
)  # fmt: skip


def __getattr__(name: str) -> Any:
    return FETCH.load("peft_export").export_peft if name == "export_peft" else _find(name)
