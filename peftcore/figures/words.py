"""Numbers and titles as people read them."""

from __future__ import annotations

import html
import math
import re
import textwrap
from collections.abc import Iterable, Sequence

from peftcore.memory.report import block_of

MINUS, NO_BREAK = "\N{MINUS SIGN}", "\N{NO-BREAK SPACE}"
TITLE_WIDTH = 62  # characters of a title's line in half a page's width
NARROW = 46  # and on a phone


def plain(text: object) -> str:
    """Text from a user (class names, file names), escaped for Plotly's markup."""
    return html.escape(str(text), quote=False)


def _scaled(number: float, units: tuple[str, ...], base: float = 1000.0) -> str:
    """Three significant digits and the unit that keeps the number below 1,000."""
    if number == 0 or not math.isfinite(number):
        return f"{number:g} {units[0]}".strip()
    index = 0
    size = float(f"{abs(number):.3g}")
    while size >= base and index < len(units) - 1:
        size = float(f"{size / base:.3g}")
        index += 1
    return f"{'-' if number < 0 else ''}{size:g} {units[index]}".strip()


def si_bytes(number: float) -> str:
    """Bytes as people read them, powers of ten: 1.33 GB, 617 kB."""
    return _scaled(number, ("B", "kB", "MB", "GB", "TB", "PB"))


def human_count(number: float) -> str:
    """A count as people read it: 617 k, 85.8 M."""
    return _scaled(number, ("", "k", "M", "G", "T"))


def shortened(name: str, most: int = 28) -> str:
    """A name of at most so many characters, its end left out where it has more."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def how_many(number: int, noun: str) -> str:
    """'1 seed', '3 seeds'."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def in_a_row(names: Sequence[str]) -> str:
    """'LoRA', 'LoRA and SSF', 'LoRA, SSF and VPT'."""
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def percent(share: float) -> str:
    """0.0642 -> '6 %', 0.0072 -> '0.7 %', 1.234 -> '123 %', 2e-7 -> 'under 0.001 %'."""
    value = 100 * share
    if 0 < abs(value) < 0.00095:
        return "under 0.001 %"
    return f"{value:.0f} %" if abs(value) >= 1.95 or value == 0 else f"{value:.1g} %"


def p_value(p: float) -> str:
    """'p = 0.034', 'p < 0.001'."""
    return f"p {bare}" if (bare := p_alone(p)).startswith("<") else f"p = {bare}"


def p_alone(p: float) -> str:
    """'0.034', '< 0.001': for a column whose name says that it is p."""
    return "< 0.001" if p < 0.001 else f"{p:.2g}"


def correlation(value: float) -> str:
    """'0.42', '−0.61'."""
    return f"{value:z.2f}".replace("-", MINUS)


def times(ratio: float) -> str:
    """'3.2 times', '15 times', '0.04 times'."""
    size = abs(ratio)
    digits = f"{ratio:.0f}" if size >= 10 else f"{ratio:.1f}" if size >= 0.1 or not ratio else f"{ratio:.1g}"
    return f"{digits.replace('-', MINUS)} times"


def byte_unit(largest: float) -> tuple[float, str]:
    """Divisor and name of the unit for an axis that reaches `largest` bytes."""
    for divisor, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if largest >= divisor:
            return divisor, name
    return 1.0, "bytes"


def places(paths: Iterable[str]) -> dict[str, str]:
    """Paths of modules as people count them, layers from 1: {'blocks.3.mlp.fc1': 'layer 4, mlp.fc1'}; of the blocks of
    a side network {'side.0': 'side module 1'}. A Swin's layers count over all stages, so `paths` must hold all."""
    paths, of = list(paths), {}
    for path in filter(None, paths):
        if block := block_of(path):
            of[path] = block, "side module" if "side" in block.split(".") else "layer"
    names: dict[str, str] = {}
    for noun in ("layer", "side module"):
        blocks = {
            block: [int(digits) for digits in re.findall(r"\d+", block)] for block, what in of.values() if what == noun
        }
        ordered = sorted(blocks, key=blocks.__getitem__)
        names |= {
            block: f"{noun} {(number[0] if len(number) == 1 else ordered.index(block)) + 1}"
            for block, number in blocks.items()
        }
    return {
        path: ", ".join(filter(None, [names[of[path][0]], path.removeprefix(of[path][0])[1:]])) if path in of else path
        for path in paths
    }


def ceiling(number: float) -> float:
    """A round number at or above `number`: an axis that ends there rarely moves while a curve grows."""
    if not math.isfinite(number) or number <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(number))
    for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8):
        if number <= step * power * (1 + 1e-9):
            return step * power
    return 10 * power


def wrap(text: str, width: int = TITLE_WIDTH) -> str:
    """Break a title into lines; Plotly would let it run out of the figure. A number keeps its unit."""
    return "<br>".join(textwrap.wrap(with_units(text), width)).replace(NO_BREAK, " ") or " "


def with_units(text: str) -> str:
    """No line breaks between a number and its unit: '2.91 GB', '6 %'."""
    return re.sub(r"(?<=\d) (?=%|[kMGT]?B\b|m?s\b)", NO_BREAK, text)
