"""The recorded examples are whole, and belong to the weights that travel with them."""

import pytest

from peftcore.adapters import trained_on
from peftcore.adapters.packing import unpack
from peftcore.backbone.load import load_backbone
from peftcore.store import gallery


@pytest.mark.parametrize("name", gallery.names())
def test_an_example_holds_what_pages_read(name):
    told = gallery.record(name)
    assert {"title", "command", "spec", "summary", "events"} <= told.keys()
    assert {"started", "step", "step_memory", "evaluation", "finished"} <= {event["kind"] for event in told["events"]}


@pytest.mark.parametrize("name", gallery.names())
def test_an_example_fits_a_backbone_that_is_shipped(name):
    """Where this fails, the weights that it was trained on are gone: run scripts/record_gallery.py."""
    about = unpack(gallery.adapter(name))[1]
    assert about["backbone"]["fingerprint"] == load_backbone(**trained_on(about)).fingerprint
