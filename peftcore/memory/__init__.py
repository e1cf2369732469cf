"""Where every byte of a training step goes: measured by a ledger, predicted by the same ledger without a machine."""

from peftcore.registry import lazily

__getattr__ = lazily(
    __name__, {"report": "COMPONENTS MemoryReport block_of", "ledger": "Ledger", "predict": "predict_memory"}
)
