"""Where every byte of a training step goes: measured by a ledger, predicted by the same ledger without a machine."""

from peftcore.registry import lazily

__getattr__ = lazily(
    __name__,
    {
        "COMPONENTS": "report",
        "Ledger": "ledger",
        "MemoryReport": "report",
        "block_of": "report",
        "largest_batches": "fitting_batch",
        "measure_step": "measure",
        "predict_memory": "predict",
        "predict_step": "predict",
    },
)
