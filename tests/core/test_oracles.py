"""Headroom against independent code: every oracle within its tolerance, as docs/oracles.md says."""

from __future__ import annotations

import re

import against
import pytest
import torch
from oracles import FAMILIES, ORACLES, PAGE


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("oracle", ORACLES, ids=lambda o: f"{o.measure.__name__}-{'-'.join(map(str, o.arguments))}")
@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT looks for a configuration on the hub
def test_within_its_tolerance(oracle, family):
    within, found = dict(oracle.within), oracle.errors(family)
    assert found
    for compared, errors in found.items():
        for dtype, error in errors.items():
            assert 0 <= error <= within[dtype], f"{compared}, {dtype}"  # NaN is not


@pytest.mark.parametrize("name", against.GRAD_CAM_ON)
def test_layer_grad_cam_is_pytorch_grad_cams(name):
    pytest.importorskip("pytorch_grad_cam")
    found = against.grad_cam(name, torch.float32)
    assert found and max(found.values()) <= against.GRAD_CAM_WITHIN, found


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_quantiser_is_the_second_derivation(bits):
    assert max(against.codes(bits).values()) < 1e-11


@pytest.mark.parametrize("what, numbers", against.counts().items())
def test_counts_to_the_unit(what, numbers):
    assert numbers[0] == numbers[1]


def rows() -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]


def test_the_page_lists_every_oracle_within_its_tolerance():
    """Each oracle on each family with its present tolerances; made again with `python scripts/oracles.py`."""
    listing = {}
    for title, family, compared, *cells in [row for row in rows() if len(row) == 7][1:]:
        for error, allowed in (cells[:2], cells[2:]):
            assert error == allowed == "–" or 0 <= float(error) <= float(allowed), (title, family, compared)
        listing.setdefault((title, family), []).append((cells[1], cells[3]))
    for oracle in ORACLES:
        within = dict(oracle.within)
        tolerances = tuple(f"{within[t]:.0e}" if t in within else "–" for t in (torch.float64, torch.float32))
        for family in FAMILIES.values():
            listed = set(listing.get((oracle.title, family), ()))
            assert listed >= {tolerances}, f"run python scripts/oracles.py: docs/oracles.md lacks {oracle.title}"
    for bits in (1, 2, 4, 8):
        assert any(f"{bits} bit" in title for title, _ in listing)


def test_the_page_has_every_exact_number():
    exact = {row[0]: row[1:] for row in rows() if len(row) == 3}
    for what, (_, expected) in against.counts().items():
        assert exact[f"{what}, ViT-B/16"] == [f"{expected:,}"] * 2
    (files,) = [cells for what, cells in exact.items() if re.match("PETL-ViT's released", what)]
    assert files[0] in ("0", "skipped: the files were not there") and files[1] == "0"
