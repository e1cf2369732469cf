"""Adapters as files: save, load, merge, and the formats of others. Never pickle."""

from peftcore.registry import lazily

__getattr__ = lazily(
    __name__,
    {
        "save_adapter": "save",
        "load_adapter": "save",
        "merge": "save",
        "save_merged": "save",
        "to_bytes": "save",
        "from_bytes": "save",
        "describe": "save",
        "plain_copy": "save",
        "FORMAT": "save",
        "export_peft": "hf_lora",
        "import_peft": "hf_lora",
    },
)
