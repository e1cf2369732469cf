"""The image size on the launch page: a field, a link, and a proposal where a backbone's own has very many tokens."""

from __future__ import annotations

import pytest

from app.launch import costs, request
from peftcore.cli.image_size import Smaller
from peftcore.events import COMPONENTS


@pytest.fixture
def dinov2(monkeypatch):
    """The bill of a DINOv2, without the seconds that it takes to make."""

    def predict(spec):
        proposed = None if spec.image_size else Smaller(518, 1370, 224, 257)
        parts = dict.fromkeys(COMPONENTS, 10**6)
        return costs.Cost({"backbone": 9, "method": 2, "head": 1}, parts, 8 * 10**6, 9 * 10**6, 4, "", proposed, 10**6)

    monkeypatch.setattr(costs, "_predict", predict)
    return "vit_small_patch14_dinov2"


def test_a_smaller_size_is_proposed_with_what_it_costs_and_taken_by_a_click(at, dinov2, store):
    app = at("launch", backbone=dinov2, method="lora", pretrained="false")
    [told] = [info.value for info in app.info]
    assert "518 x 518 pixels, 1,370 tokens" in told and "257, and the peak 1 MB instead of 8 MB" in told
    app.button(key="launch_smaller").click().run()
    assert not app.info and app.text_input(key="image_size").value == "224"
    app.button(key="launch").click().run()
    assert store.runs()[0].spec["image_size"] == 224


def test_the_link_and_the_form_say_the_same():
    asked = request.from_query({"image_size": "96", "backbone": "vit_micro"})
    assert asked.spec.image_size == 96 and request.to_query(asked.spec.to_dict())["image_size"] == "96"
    assert "image_size" not in request.to_query(request.from_query({}).spec.to_dict())
    wrong = request.from_query({"image_size": "big"})
    assert "image_size" in wrong.faults and not wrong.specs
