"""Why autograd keeps a tensor: from the node of the graph that holds it, in one sentence."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from peftcore.memory.lifetimes import Kept

# (node, name of what it saved) -> why. Node names lose their "Backward0".
_WHY = {
    ("Addmm", "mat1"): "input of a linear layer: the gradient of its weight is dL/dy^T x",
    ("Addmm", "mat2"): "weight of a linear layer, as it was multiplied: the gradient of its input needs it",
    ("Mm", "self"): "input of a product with a trained matrix: that matrix's gradient needs it",
    ("Mm", "mat2"): "matrix of a product: the gradient of its input needs it",
    ("Bmm", "self"): "left factor of a batched product (attention): the right factor's gradient needs it",
    ("Bmm", "mat2"): "right factor of a batched product (attention): the left factor's gradient needs it",
    ("Baddbmm", "batch1"): "left factor of a batched product: the right factor's gradient needs it",
    ("Baddbmm", "batch2"): "right factor of a batched product: the left factor's gradient needs it",
    ("Convolution", "input"): "input of a convolution: the gradient of its weight needs it",
    ("Convolution", "weight"): "weight of a convolution: the gradient of its input needs it",
    ("NativeLayerNorm", "input"): "input of a layer norm: its derivative depends on the normalised input",
    ("NativeLayerNorm", "result1"): "means of a layer norm, one per token",
    ("NativeLayerNorm", "result2"): "inverse deviations of a layer norm, one per token",
    ("Gelu", "self"): "input of GELU: its derivative depends on it",
    ("Silu", "self"): "input of SiLU: its derivative depends on it",
    ("Relu", "result"): "output of ReLU: its sign is the derivative",
    ("Sigmoid", "result"): "output of a sigmoid: its derivative is s(1 - s)",
    ("Tanh", "result"): "output of tanh: its derivative is 1 - t^2",
    ("Softmax", "result"): "attention map or softmax output: its derivative depends on it",
    ("LogSoftmax", "result"): "log-probabilities of the loss",
    ("NativeDropout", "result1"): "dropout mask",
    ("Mul", "self"): "factor of a product: the other factor's gradient needs it",
    ("Mul", "other"): "factor of a product: the other factor's gradient needs it",
    ("Div", "self"): "dividend: the divisor's gradient needs it",
    ("Div", "other"): "divisor: both gradients need it",
    ("Index", "indices"): "positions that were read",
    ("AddPairs", "tensors"): "what a low-rank pair reads, or is made of: the gradients of its matrices need it",
    (
        "Lean",
        "tensors",
    ): "what enters and leaves a side network's attention, and its weights: backward starts from them",
    ("NllLoss", "self"): "log-probabilities of the loss",
    ("NllLoss", "target"): "labels",
    ("NllLoss", "total_weight"): "weight of the batch in the loss",
}
PAIR, NORMED = _WHY["AddPairs", "tensors"], _WHY["NativeLayerNorm", "input"]
# Reasons that hold only while some weight trains: nobody below it needs the tensor.
FOR_A_WEIGHT = frozenset(_WHY[key] for key in (("Addmm", "mat1"), ("Mm", "self"), ("Convolution", "input")))
_ATTENTION = {
    "query": "queries of fused attention: backward recomputes the map from them",
    "key": "keys of fused attention: backward recomputes the map from them",
    "value": "values of fused attention",
    "output": "output of fused attention: its backward needs it in place of the map",
    "logsumexp": "log-normalisers of fused attention, one per query and head",
    "attn_mask": "mask or position bias added to the attention scores",
    "attn_bias": "mask or position bias added to the attention scores",
}


def explain(loss: Tensor) -> None:
    """Write into the ledger's lives why each storage below `loss` is kept. Call before backward; changes
    nothing.
    """
    seen, stack = set(), [loss.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        stack += [following for following, _ in node.next_functions]
        for name in _saved_names(type(node)):
            saved = getattr(node, name)
            for one in saved if isinstance(saved, (tuple, list)) else (saved,):
                kept = getattr(one, "data", None)  # what the pack hook made; unpacking could trigger a recomputation
                if isinstance(kept, Kept) and kept.life is not None:
                    why = reason(node.name(), name.removeprefix("_raw_saved_"))
                    if why not in kept.life.reasons:
                        kept.life.reasons += (why,)


def reason(node: str, saved: str) -> str:
    """One sentence for a node's name and the name of what it saved."""
    short = node.rpartition("::")[2].rstrip("0123456789").removesuffix("Backward").lstrip("_")
    if short.startswith("ScaledDotProduct") and saved in _ATTENTION:
        return _ATTENTION[saved]
    if short == "SafeSoftmax":
        short = "Softmax"
    default = f"saved by {short} for its backward" + ("" if saved == "tensors" else f" ({saved})")
    return _WHY.get((short, saved), default)


@cache
def _saved_names(kind: type) -> tuple[str, ...]:
    return tuple(name for name in dir(kind) if name.startswith("_raw_saved_"))
