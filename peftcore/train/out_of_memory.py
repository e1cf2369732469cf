"""What torch says when memory is used up, as a sentence with remedies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from peftcore import errors
from peftcore.spec import RunSpec


@contextmanager
def with_remedies(spec: RunSpec) -> Iterator[None]:
    """Raises OutOfMemory in place of torch's own error."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        remedies = [f"a batch smaller than {spec.batch_size}"]
        if spec.precision == "fp32":
            remedies.append("precision='bf16'")
        if spec.method.kind == "in-backbone":
            remedies.append("a side method such as LAST, which keeps nothing of the backbone")
        detail = str(error).strip().splitlines()[0]
        raise errors.OutOfMemory(f"The device ran out of memory. Try {', or '.join(remedies)}. ({detail})") from error
