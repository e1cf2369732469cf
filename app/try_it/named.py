"""An image by its name in the address: 'test-12-digits' is a test image of a task, 'own-...' one that was brought."""

from __future__ import annotations

import re

import numpy as np

from app import cached, subjects, words
from app.room import who
from peftcore import errors

_TEST = re.compile(r"test-(\d{1,9})-(.+)")


def of_test(task: str, number: int) -> str:
    """The name of a test image."""
    return f"test-{number}-{task}"


def tested(image: str) -> tuple[str, int] | None:
    """Task and number of a test image; None for any other."""
    found = _TEST.fullmatch(image)
    return (found[2], int(found[1])) if found else None


def is_own(image: str) -> bool:
    return image.startswith(cached.OWN)


def in_words(image: str) -> str:
    """'Your image', or 'Test image 12 of Handwritten digits'."""
    if found := tested(image):
        return f"Test image {found[1]} of {words.task_title(found[0])}"
    return "Your image"


def array(run: subjects.Run, image: str) -> np.ndarray:
    """The image for a run, uint8 (H, W, 3). Raises BadData: there is no such image, or it is no longer kept; and what
    loading a task raises."""
    if found := tested(image):
        who.task(found[0])
        test = cached.task(found[0]).test
        if found[1] >= len(test):
            raise errors.BadData(f"{found[0]} has test images 0 to {len(test) - 1}; there is no number {found[1]}.")
        return test.images[found[1]]
    if not is_own(image):
        raise errors.BadData("The address names no image. Drop one, take one with the camera, or choose a test image.")
    return cached.test_image(run, image)
