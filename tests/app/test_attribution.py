"""The Attribution page on real runs: what it shows is what the library computes, and every choice is in its link."""

import numpy as np
import pytest
from drawn import figures

import peftcore as pc
from app import cached, subjects
from app.attribution import maps
from app.attribution.choice import BY, Chosen
from peftcore import adapters
from peftcore.backbone.preprocess import prepare

LEVEL = ("image", "before", "after")


def text(app) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption, *app.info, *app.error])


def test_a_link_names_run_image_class_method_and_steps(at, trained):
    app = at("attribution", run=trained["lora"], image=3, by="integrated_gradients", steps=10, **{"class": "7"})
    assert not app.error and "After tuning:" in text(app) and "explained is 7" in text(app)
    assert len(figures(app)) == 5  # strip, image, before, after, lens
    app.selectbox(key="attribution_by").select("gradcam").run()
    assert app.query_params["by"] in ("gradcam", ["gradcam"])
    assert "patches get no gradient" in text(app) and not app.error
    app.selectbox(key="attribution_layer").select(8).run()
    [error] = app.error  # once for both maps, and by the block: the page counts layers from 1
    assert "behind blocks.7 of vit" in error.value and "reaches the classifier" in error.value and not app.exception
    app.button(key="attribution_earlier_before").click().run()
    assert not app.error and app.selectbox(key="attribution_layer").value == 7


@pytest.mark.parametrize("by", ["occlusion", "rollout"])
def test_other_methods_and_a_photograph_on_a_side_method(at, trained, by):
    app = at("attribution", run=trained["last"], image="photo-china", by=by)
    assert not app.error and "The photograph china.jpg" in text(app)
    assert "true" not in app.selectbox(key="attribution_class").options
    tops = {name: each["layout"]["margin"]["t"] for name, each in figures(app).items() if name.split("_")[-1] in LEVEL}
    assert len(set(tops.values())) == 1, f"the image and both maps stand level: {tops}"


def test_maps_are_the_library_s(trained, store, engine):
    run = subjects.run(subjects.named(str(trained["lora"])))
    model = adapters.from_bytes(store.get_artifact(trained["lora"], "adapter"))
    x = prepare(cached.task("digits").test.images[5:6], model.backbone)
    assert set(BY) == {"integrated_gradients", "gradcam", "occlusion", "rollout"}
    found = maps.explained(run, 5, 2, Chosen("2", "integrated_gradients", 0, 10).how, True).result()
    expected = pc.attribute(model, x, 2, steps=10)
    assert found.delta == pytest.approx(float(expected.delta), abs=1e-4)
    assert found.values.sum() == pytest.approx(float(expected.maps.sum()), rel=1e-4, abs=1e-5)
    said = maps.said(run, 5).result()
    np.testing.assert_allclose(said.tuned, model(x).softmax(1)[0].detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(said.lens[-1], said.tuned, atol=1e-5)
    assert said.before is not None and not np.allclose(said.before, said.tuned)


def test_every_patch_is_asked_at_twice_the_size(at, trained):
    app = at("attribution", run=trained["lora"], by="rollout", patches="all", times=2)
    assert not app.error and "at each patch after each layer" in text(app) and "Read at 128 x 128" in text(app)
    assert len(figures(app)) == 6  # strip, image, before, after, patches, lens
    run = subjects.run(subjects.named(str(trained["lora"])))
    found = maps.patches(run, 0).result()
    assert found.shape == (9, 8, 8, 10)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)


def test_a_map_that_is_stopped_stays_stopped_until_it_is_begun_again(at, trained, engine):
    run = subjects.run(subjects.named(str(trained["lora"])))
    how = Chosen("0", "occlusion", 0, 10).how
    job = maps.explained(run, 9, 0, how, False)
    assert job.result() and job.said == (1.0,)  # of its work, all
    key = maps.key_of(run, 9, 0, how, True)
    asked = dict(run=trained["lora"], image=9, by="occlusion", **{"class": "0"})
    app = at("attribution", **asked)
    app.session_state[maps._STOPPED] = {key}  # what `maps.stop` leaves in the session of who stopped it
    assert "Stopped: occlusion, after tuning" in text(app.run())
    assert "Stopped" not in text(at("attribution", **asked)), "another reader stopped nothing"
    app.button(key="attribution_again_after").click().run()
    assert not app.exception and "Stopped" not in text(app)
