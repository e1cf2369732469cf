"""The rows of "Why didn't memory drop?": what methods keep of one block, tensor by tensor, and what they need in all.

They come from memory reports; `kept.py` draws them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from peftcore import errors
from peftcore.memory.reasons import FOR_A_WEIGHT, NORMED, PAIR
from peftcore.memory.report import MemoryReport, block_of

Key = tuple[str, str, int, int]  # of a kept tensor: see _keyed

NO_GRADIENT = "no gradient passes through the backbone"
ABOVE = "backward ends above this layer, as nothing below it trains"
FROZEN = "only a frozen weight's gradient would need it"
REMADE = "a low-rank pair reads it, and backward makes it again from the norm's own input"
UNMADE = "this method does not compute it"
UNNEEDED = "nothing that this method trains needs it"

_RESULTS = {
    ("native_layer_norm", 1): "means of {}",
    ("native_layer_norm", 2): "inverse deviations of {}",
    ("attention", 0): "output of attention",
    ("attention", 1): "log-normalisers of attention",
    ("_softmax", 0): "attention map",
}
_OF_THE_BLOCK = {
    "add": "tokens after attention",
    "cat": "tokens, prompts among them",
    "clone": "tokens in windows",
}


def activations_by(report: MemoryReport, key: str) -> dict[str, int]:
    """Kept bytes by 'block' (a module's path where it lies in none), 'module' or 'kind', in forward order."""
    total: Counter[str] = Counter()
    for row in report.activations:
        total[block_of(row["module"]) or row["module"] if key == "block" else row[key]] += row["bytes"]
    return dict(total)


def blocks_of(report: MemoryReport) -> list[str]:
    """The backbone's blocks that keep something for backward, in forward order, by timm's paths."""
    return [name for name in activations_by(report, "block") if block_of(f"{name}.x") == name]


def compare_block(
    reports: Mapping[str, MemoryReport], block: str, reference: MemoryReport | None = None
) -> list[dict[str, Any]]:
    """What each method keeps of `block` for backward, one row per tensor, aligned by origin, in forward order.

    Args:
        reports: method's name -> report of the same backbone and batch, with `activations`.
        reference: a report, usually full fine-tuning's, whose tensors are listed even where none of `reports` keeps
            them; a tensor that it lacks counts as a method's own.

    Returns:
        {"what", "shape", "size", "bytes": {name: int}, "reason": {name: sentence}} each; size: bytes where it is kept;
        bytes 0: not kept, with the reason.

    Raises:
        UnknownName: no report keeps anything in a block with this name.
    """
    everything = [*([reference] if reference else []), *reports.values()]
    known = list(dict.fromkeys(name for report in everything for name in blocks_of(report)))
    if block not in known:
        raise errors.unknown("block", block, known)
    listed = {name: _keyed(report, block) for name, report in reports.items()}
    known_rows = _keyed(reference, block) if reference else {}
    order = _merged([known_rows, *listed.values()])
    first = {key: row for rows in (*reversed(listed.values()), known_rows) for key, row in rows.items()}

    def why(name: str, key: Key) -> str:
        if key in listed[name]:
            return listed[name][key]["reason"]
        if _made_again(key, order, listed[name]):
            return REMADE
        return _why_not(reports[name], block, first[key], key in known_rows)

    rows = []
    for key in order:
        kept = {name: own.get(key) for name, own in listed.items()}
        rows.append(
            {
                "what": _title(key),
                "shape": first[key]["shape"],
                "size": max(row["bytes"] for row in (first[key], *kept.values()) if row),
                "bytes": {name: row["bytes"] if row else 0 for name, row in kept.items()},
                "reason": {name: why(name, key) for name in reports},
            }
        )
    return rows


def totals(report: MemoryReport) -> dict[str, int]:
    """What training needs beside the weights, in bytes, each at its own peak in the step. `inside`: activations in the
    backbone's blocks. `trained`: the weights that train."""

    def highest(*names: str) -> int:
        return max(sum(moment[name] for name in names) for moment in report.curve)

    return {
        "gradients": highest("gradients", "optimizer"),
        "activations": report.kept,
        "inside": sum(activations_by(report, "block")[name] for name in blocks_of(report)),
        "cached_features": highest("cached_features"),
        "features": highest("features"),
        "trained": report.components["trainable_weights"],
    }


def _keyed(report: MemoryReport, block: str) -> dict[Key, dict[str, Any]]:
    """Rows of a block by (place below the block, operator where it tells results apart, result, how many before)."""
    seen: Counter = Counter()
    keyed = {}
    for row in report.activations:
        if block_of(row["module"]) != block:
            continue
        place, operator, result = row["made"]
        if "scaled_dot_product" in operator:
            operator = "attention"
        if place == block:
            name = ("", operator, result)
        elif block_of(place) != block:
            name = ("input", "", 0)
        else:  # a linear layer's output is one thing, whether an adapter added to it or not
            local = place.removeprefix(f"{block}.")
            name = (local, operator if (operator, result) in _RESULTS else "", result)
        keyed[(*name, seen[name])] = row
        seen[name] += 1
    return keyed


def _merged(lists: list[Mapping[Key, Any]]) -> list[Key]:
    """One order for all lists: an item that only a later list has follows its predecessor there."""
    order: list[Key] = []
    for keys in lists:
        at = 0
        for key in keys:
            if key in order:
                at = order.index(key) + 1
            else:
                order.insert(at, key)
                at += 1
    return order


def _made_again(key: Key, order: list[Key], own: Mapping[Key, Mapping[str, Any]]) -> bool:
    """Whether `key` is a norm's output that a method recomputes from the norm's input, also for a low-rank pair."""
    if not key[0].startswith("norm") or key[1]:
        return False
    before = [own[other]["reason"] for other in order[: order.index(key)] if other in own]
    read = next((reason for reason in reversed(before) if NORMED in reason), "")
    return PAIR in read


def _title(key: Key) -> str:
    place, operator, result, number = key
    if place == "input":
        title = "input of the layer"
    elif not place:
        title = _OF_THE_BLOCK.get(operator, f"{operator.strip('_')} in the layer")
    else:
        title = _RESULTS.get((operator, result), "output of {}").format(place)
    if place == "attn" and not operator:  # without a fused kernel: queries, keys, values and what they give
        return f"tensor {number + 1} in attention"
    if place.endswith("qkv"):
        title = "q, k and v"
    return f"{title} ({number + 1})" if number else title


def _why_not(report: MemoryReport, block: str, row: Mapping[str, Any], common: bool) -> str:
    reached = blocks_of(report)
    if not any(name.split(".")[-2] == block.split(".")[-2] for name in reached):
        return NO_GRADIENT
    if block not in reached:
        return ABOVE
    if not common:
        return UNMADE
    return FROZEN if set(row["reason"].split("; ")) <= FOR_A_WEIGHT else UNNEEDED
