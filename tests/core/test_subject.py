"""What a command measures: a saved adapter, and images of a task whose classes are the adapter's."""

from __future__ import annotations

import pytest
from backbones import small

import peftcore as pc
from peftcore import errors
from peftcore.cli.subject import pictures, subject
from peftcore.spec import RunSpec


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    """On vit_micro, of ten classes, as digits has."""
    model = pc.attach(pc.load_backbone("vit_micro"), "lora", 10)
    return pc.save_adapter(tmp_path_factory.mktemp("adapter"), model)


def test_images_of_a_task_with_as_many_classes(adapter):
    model, x, y = subject(str(adapter), "digits", images=3)
    assert model(x).shape == (3, 10) and y.shape == (3,)


@pytest.mark.parametrize("task", ["cells", "textures"])
def test_a_task_with_fewer_or_more_classes_is_refused_by_its_name(adapter, task):
    with pytest.raises(errors.BadData, match=rf"{task} has \d+ classes and this classifier 10"):
        subject(str(adapter), task, images=3)
    with pytest.raises(errors.BadData, match="name a task"):
        pictures(pc.attach(small("vit"), "linear", 10), RunSpec(task=task), slice(1), "test")
