"""Where every byte of a training step goes: measured by a ledger, predicted by the same ledger without a
machine.
"""

from __future__ import annotations

from peftcore.memory.batch_size import largest_batch, largest_batches
from peftcore.memory.comparison import blocks_of, compare_block, totals
from peftcore.memory.ledger import Ledger
from peftcore.memory.predict import predict_memory, predict_step
from peftcore.memory.report import COMPONENTS, MemoryReport, block_of
from peftcore.memory.step import measure_step

__all__ = [
    "COMPONENTS",
    "Ledger",
    "MemoryReport",
    "block_of",
    "blocks_of",
    "compare_block",
    "largest_batch",
    "largest_batches",
    "measure_step",
    "predict_memory",
    "predict_step",
    "totals",
]
