"""Why autograd keeps a tensor: from the node of the graph that holds it, in one sentence."""

from __future__ import annotations

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
    ("Attention", "query"): "queries of fused attention: backward recomputes the map from them",
    ("Attention", "key"): "keys of fused attention: backward recomputes the map from them",
    ("Attention", "value"): "values of fused attention",
    ("Attention", "output"): "output of fused attention: its backward needs it in place of the map",
    ("Attention", "logsumexp"): "log-normalisers of fused attention, one per query and head",
    ("Attention", "attn_mask"): "mask or position bias added to the attention scores",
    ("Attention", "attn_bias"): "mask or position bias added to the attention scores",
    ("SafeSoftmax", "result"): "attention map or softmax output: its derivative depends on it",
    ("Softmax", "result"): "attention map or softmax output: its derivative depends on it",
    ("LogSoftmax", "result"): "log-probabilities of the loss",
    ("NativeDropout", "result1"): "dropout mask",
    ("Mul", "self"): "factor of a product: the other factor's gradient needs it",
    ("Mul", "other"): "factor of a product: the other factor's gradient needs it",
    ("Div", "self"): "dividend: the divisor's gradient needs it",
    ("Div", "other"): "divisor: both gradients need it",
    ("Index", "indices"): "positions that were read",
    ("AddPairs", "tensors"): "what a low-rank pair reads, or is made of: the gradients of its matrices need it",
    ("Lean", "tensors"): "what a side network's attention reads and gives, and its weights: backward starts from them",
    ("NllLoss", "self"): "log-probabilities of the loss",
    ("NllLoss", "target"): "labels",
    ("NllLoss", "total_weight"): "weight of the batch in the loss",
}
PAIR, NORMED = _WHY["AddPairs", "tensors"], _WHY["NativeLayerNorm", "input"]
# Reasons that hold only while some weight trains: nobody below it needs the tensor.
FOR_A_WEIGHT = frozenset(_WHY[key] for key in (("Addmm", "mat1"), ("Mm", "self"), ("Convolution", "input")))


def reason(node: str, saved: str) -> str:
    """One sentence for a node's name and the name of what it saved."""
    short = node.rpartition("::")[2].rstrip("0123456789").removesuffix("Backward").lstrip("_")
    kind = "Attention" if short.startswith("ScaledDotProduct") else short
    default = f"saved by {short} for its backward" + ("" if saved == "tensors" else f" ({saved})")
    return _WHY.get((kind, saved), default)
