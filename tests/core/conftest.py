"""Fixtures that several files of tests share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def one_thread():
    """PyTorch on one thread, as long as a file of tests takes."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
