"""What was measured of a run is kept with it, and only for the model that was measured."""

import numpy as np
import pytest

from peftcore.errors import UnknownName
from peftcore.store import Store, measured


@pytest.mark.parametrize("run", [1, "example-lora"])
def test_a_measurement_comes_back_as_it_was_for_the_same_training_only(tmp_path, run):
    store = Store(tmp_path)
    store.create_run({"task": "digits"})
    found = {"loss": np.array([[0.5, np.nan]]), "images": np.int64(4), "names": ("q", "v")}
    assert measured.kept(store, run, "effects", 2.5) is None
    given = measured.keep(store, run, "effects", found, 2.5)
    again = measured.kept(Store(tmp_path), run, "effects", 2.5)
    np.testing.assert_array_equal(again["loss"], found["loss"])
    assert str(again) == str(given) and again["names"] == ["q", "v"] and again["images"] == 4
    assert measured.kept(store, run, "effects", 3.5) is None and measured.kept(store, run, "other", 2.5) is None


def test_a_measurement_goes_with_its_run(tmp_path):
    store = Store(tmp_path)
    run = store.create_run({"task": "digits"})
    store.set_status(run, "cancelled")
    measured.keep(store, run, "effects", {"loss": 1.0})
    store.delete_run(run)
    assert measured.kept(store, run, "effects") is None
    with pytest.raises(UnknownName):
        measured.keep(store, run, "effects", {"loss": 1.0})
