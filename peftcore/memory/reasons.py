"""Why autograd keeps a tensor: from the node of the graph that holds it, in one sentence of reasons.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

_WHY: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
PAIR, NORMED = _WHY["AddPairs"]["tensors"], _WHY["NativeLayerNorm"]["input"]
# Reasons that hold only while a certain weight trains: nothing below it needs the tensor.
FOR_A_WEIGHT = frozenset((_WHY["Addmm"]["mat1"], _WHY["Mm"]["self"], _WHY["Convolution"]["input"]))


def reason(node: str, saved: str) -> str:
    """One sentence for a node's name and the name of what it saved."""
    short = node.rpartition("::")[2].rstrip("0123456789").removesuffix("Backward").lstrip("_")
    kind = "Attention" if short.startswith("ScaledDotProduct") else short
    default = f"saved by {short} for its backward" + ("" if saved == "tensors" else f" ({saved})")
    return _WHY.get(kind, {}).get(saved, default)
