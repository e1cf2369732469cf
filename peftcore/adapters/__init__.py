"""Adapters as files: save, load, merge, and the formats of others. Never pickle."""

from peftcore.registry import lazily

__getattr__ = lazily(
    __name__,
    {
        "save": "save_adapter to_bytes describe FORMAT",
        "load": "load_adapter from_bytes",
        "merged": "merge save_merged plain_copy",
        "hf_lora": "export_peft",
    },
)
