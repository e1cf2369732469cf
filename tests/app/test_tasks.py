"""The Tasks page: every task as a card, one task image by image, and its frozen features as points."""

from __future__ import annotations

import pytest

from app import libraries, words
from peftcore.tasks import embedded_tasks


@pytest.fixture(autouse=True, scope="module")
def loaded():
    libraries.load()


def text(app) -> str:
    return "\n".join(part.value for part in [*app.markdown, *app.caption, *app.info, *app.error]).replace("\\", "")


def pictures(app) -> str:
    return "\n".join(part.proto.body for part in app.get("html"))


def test_the_gallery_has_a_card_with_images_for_every_task(at):
    app = at("tasks")
    assert not app.error
    assert {words.task_title(name) for name in embedded_tasks()} <= {
        link.label.strip("*") for link in app.get("page_link")
    }
    assert pictures(app).count("<img") >= 8 * len(embedded_tasks()) and "10 classes; 800 to train" in text(app)


@pytest.mark.parametrize("task", embedded_tasks())
def test_one_task_shows_its_classes_as_the_backbone_reads_them(at, task):
    app = at("tasks", task=task)
    assert not app.error
    assert "As vit_micro reads them" in text(app) and "800 to train, 200 to validate" in text(app)
    assert pictures(app).count("<img") >= 60
