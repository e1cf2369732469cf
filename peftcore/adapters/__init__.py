"""Adapters as files: save, load, merge, and the formats of others. Never pickle."""

from peftcore.registry import lazily

__getattr__ = lazily(
    __name__,
    {
        "save_adapter": "save",
        "to_bytes": "save",
        "describe": "save",
        "FORMAT": "save",
        "load_adapter": "load",
        "from_bytes": "load",
        "merge": "merged",
        "save_merged": "merged",
        "plain_copy": "merged",
        "export_peft": "hf_lora",
        "import_peft": "hf_lora",
    },
)
