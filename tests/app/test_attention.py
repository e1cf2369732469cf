"""The Attention page on real runs, and the arithmetic behind it."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drawn import figures
from PIL import Image

from app import cached, looks, subjects
from app.attention.pair import pair_of
from peftcore import adapters
from peftcore.backbone.preprocess import prepare
from peftcore.probes.attention import attention_maps, side_attention


def text(app) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption, *app.info, *app.error])


def test_backbone_and_side_network_of_the_newest_run(at, trained):
    app = at("attention")
    assert app.title[0].value == "Where does the side network look that the backbone does not?"
    assert app.selectbox(key="attention_run").value.subject.id == str(trained["last"])
    assert "Test image 0, class" in text(app) and "the patch in row 5, column 5 asks" in text(app)
    assert not app.error and not app.info
    assert len(figures(app)) == 5  # strip, picker, backbone, side network, difference


def test_a_link_names_image_layer_head_module_and_patch(at, trained):
    app = at("attention", run=trained["last"], image=11, layer=2, head=3, module=4, query="1-8")
    assert "Test image 11" in text(app) and "the patch in row 1, column 8 asks" in text(app)
    values = {name: app.selectbox(key=f"attention_{name}").value for name in ("layer", "head", "module")}
    assert values == {"layer": 1, "head": 2, "module": 3}
    app.selectbox(key="attention_layer").set_value(6).run()
    assert app.query_params["layer"] == "7"
    app.button(key="attention_class").click().run()
    assert "the class token asks" in text(app)


def test_before_and_after_for_a_method_in_the_backbone(at, trained):
    app = at("attention", run=trained["lora"])
    assert len(figures(app)) == 5 and not app.error and not app.info


def test_maps_are_the_library_s_and_are_left_as_they_were(trained, store, engine):
    """What the page shows is row `query` of the probe's map, and looking changes no output."""
    run = subjects.named(str(trained["last"]))
    model = adapters.from_bytes(store.get_artifact(trained["last"], "adapter"))
    images = prepare(cached.task("digits").test.images[5:6], model.backbone)
    before = cached.shared_model(run).model(images)
    look = cached.attention(run, 5, 2, (3, 6))
    row = attention_maps(model, images, 2)[0, :, 1 + 3 * 8 + 6].numpy()  # (heads, N): the class token comes first
    np.testing.assert_allclose(look.maps.reshape(8, -1), row[:, 1:], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(look.maps.sum((1, 2)) + look.prefix, 1, rtol=1e-5)
    side = cached.side_attention(run, 5, 3, None)
    np.testing.assert_allclose(side.maps[0].ravel(), side_attention(model, images)[3][0, 0, 1:].numpy(), rtol=1e-5)
    assert torch.equal(cached.shared_model(run).model(images), before)


def test_a_side_method_leaves_the_backbone_as_it_was(trained, engine):
    run = subjects.named(str(trained["last"]))
    tuned, frozen = (cached.attention(run, 0, 4, (2, 2), tuned) for tuned in (True, False))
    assert looks.shift(frozen, tuned, looks.MEAN) == 0


def test_a_method_in_the_backbone_moves_attention(trained, engine):
    pair = pair_of(subjects.named(str(trained["lora"])), 0, 7, looks.MEAN, None, (4, 4))
    assert 0 < pair.elsewhere(looks.MEAN) <= 1


@pytest.mark.parametrize(
    "query, source, target, expected",
    [
        ((3, 5), (8, 8), (4, 4), (1, 2)),
        ((1, 1), (4, 4), (8, 8), (3, 3)),
        (None, (8, 8), (4, 4), None),
        ((0, 6), (7, 7), (7, 7), (0, 6)),
    ],
)
def test_a_patch_on_another_grid(query, source, target, expected):
    assert looks.moved(query, source, target) == expected


def test_the_first_example_is_of_a_side_network(at):
    """The page asks where a side network looks; of the recorded runs one has it."""
    app = at("attention")
    assert app.query_params["run"] == "last-digits"
    assert "(test accuracy and its 95 % interval, with " in text(app) and "last epoch)" in text(app)


def test_without_runs_there_is_an_invitation(at, monkeypatch):
    from peftcore.store import gallery

    monkeypatch.setattr(gallery, "names", lambda: ())
    assert "no run to look at yet" in text(at("attention"))


def test_an_image_of_one_s_own_takes_a_test_image_s_place(at, trained, store):
    """What is looked at is that image: the page's map is the probe's on its pixels, at the backbone's size."""
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)).save(out, "PNG")
    app = at("attention", run=trained["last"])
    app.file_uploader(key="attention_own").set_value(("mine.png", out.getvalue(), "image/png")).run()
    assert not app.error and not app.exception and "Your own image; the patch" in text(app)
    code = app.query_params["image"]
    run = subjects.run(subjects.named(str(trained["last"])))
    pixels = cached.test_image(run, code)
    assert pixels.shape == (64, 64, 3)
    look = cached.attention(run.subject, code, 2, (3, 6))
    model = adapters.from_bytes(store.get_artifact(trained["last"], "adapter"))
    row = attention_maps(model, prepare(pixels[None], model.backbone), 2)[0, :, 1 + 3 * 8 + 6].numpy()
    np.testing.assert_allclose(look.maps.reshape(8, -1), row[:, 1:], rtol=1e-5, atol=1e-7)
    heads = at("heads", run=trained["lora"], image=code)
    assert "on your own image, where" in text(heads) and not heads.error


def test_an_image_that_is_none_is_a_sentence(at, trained):
    app = at("attention", run=trained["last"])
    app.file_uploader(key="attention_own").set_value(("mine.png", b"text", "image/png")).run()
    assert "The image cannot be used: it is not an image that can be read" in app.error[0].value
    assert "Test image 0, class" in text(app)
    app = at("attention", run=trained["last"], image="own-0123456789abcdef")
    assert "is no longer kept" in app.error[0].value and "Test image 0, class" in text(app)


def test_a_finer_look_and_the_rollout_are_links(at, trained):
    app = at("attention", run=trained["lora"], layer="rollout", times=2, query="16-16")
    assert not app.error and not app.info and "Read at 128 x 128 pixels, 2 times its size" in text(app)
    assert "the patch in row 16, column 16 asks" in text(app) and "multiplied through all layers" in text(app)
    assert len(figures(app)) == 5 and app.query_params["times"] in ("2", ["2"])
    run = subjects.named(str(trained["lora"]))._replace(times=2)
    look = cached.attention(run, 0, looks.ROLLOUT, (15, 15))
    assert look.maps.shape == (1, 16, 16) and look.maps.sum() + look.prefix[0] == pytest.approx(1, abs=1e-5)


def test_registers_have_their_share_stated_apart_from_the_class_token():
    backbone = SimpleNamespace(prefix_tokens=3, module=SimpleNamespace(num_reg_tokens=2))
    row = np.array([0.1, 0.2, 0.3, 0.1, 0.1, 0.1, 0.1])  # class token, two registers, four patches
    look = looks.look_of(np.tile(row, (2, 7, 1)), (2, 2), backbone, None)
    assert look.to_registers(0) == look.to_registers(looks.MEAN) == pytest.approx(0.5)
    assert look.prefix[0] == pytest.approx(0.6) and look.maps[0].sum() == pytest.approx(0.4)


def test_each_side_module_stands_beside_its_layer_with_what_it_adds(at, trained):
    app = at("attention", run=trained["last"], modules="all")
    assert not app.error and len(figures(app)) == 7
    names, _, shares = cached.added(subjects.named(str(trained["last"])), 0)
    assert len(names) == 8 and sum(shares) == pytest.approx(1, abs=1e-4)
