"""The Heads page on real runs: what it shows, and that each view is a link."""

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app import cached, subjects
from peftcore.figures.heads import rank_heads
from peftcore.figures.squares import Scale


def text(app: AppTest) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption, *app.info, *app.error])


def scores_of(store, run: int) -> subjects.Scores:
    return subjects.Scores.of(store.last_event(run, "scores")["scores"])


def test_newest_run_with_scores_is_shown_with_its_strongest_head(at, store, trained):
    app = at("heads")
    assert app.title[0].value == "Which heads did this task move?"
    assert app.selectbox(key="heads_run").value.subject.id == str(trained["lora"])
    values, _ = scores_of(store, trained["lora"]).of_projection("q")
    layer, head = np.unravel_index(values.argmax(), values.shape)
    assert f"**Head {head + 1} of layer {layer + 1}: rank 1 of 64**" in text(app)
    assert "Tuning moved" in text(app) and not app.error
    assert app.query_params["run"] == str(trained["lora"])


def test_a_link_names_projection_layer_head_image_and_patch(at, store, trained):
    app = at("heads", run=trained["lora"], projection="v", layer=3, head=5, image=7, query="2-4")
    values, _ = scores_of(store, trained["lora"]).of_projection("v")
    rank = int(rank_heads(values)[2, 4])
    shown = text(app)
    assert f"**Head 5 of layer 3: rank {rank} of 64**, {Scale.of(values).text(values[2, 4])} by taylor in v" in shown
    assert "on test image 7, where the patch in row 2, column 4 asks" in shown
    app.button(key="heads_class").click().run()
    assert "where the class token asks" in text(app)


def test_widgets_write_the_link(at, trained):
    app = at("heads", run=trained["lora"])
    app.button_group(key="heads_projection").set_value("v").run()
    assert app.query_params["projection"] == "v"
    app.selectbox(key="heads_score").select("energy").run()
    assert app.query_params["score"] == "energy" and "energy" in text(app) and not app.error
    app.button(key="heads_images_after").click().run()
    assert app.query_params["image"] == "6"


def test_heads_patches_and_images_are_chosen_without_a_mouse(at, trained):
    app = at("heads", run=trained["lora"])
    app.selectbox(key="heads_layer").select(2).run()
    app.selectbox(key="heads_head").select(4).run()
    app.number_input(key="heads_row").set_value(2).run()
    app.number_input(key="heads_image_number").set_value(7).run()
    assert {name: app.query_params[name][0] for name in ("layer", "head", "image")} == dict(
        layer="3", head="5", image="7"
    )
    assert "Head 5 of layer 3: rank" in text(app) and "on test image 7, where the patch in row 2" in text(app)


def test_the_numbers_of_a_figure_are_a_table():
    from app import numbers
    from peftcore.figures import heads

    values = np.arange(6.0).reshape(2, 3)
    kept = values < 5
    table = numbers.table(heads.head_grid(values, score="taylor", projection="q", mask=kept))
    assert table.columns.tolist() == ["layer", "head", "taylor", "rank", "kept"]
    assert table.loc[5].tolist() == [2, 3, 5.0, 1.0, False] and table["taylor"].tolist() == values.ravel().tolist()


def test_pictures_bars_and_curves_have_their_numbers():
    from app import numbers
    from peftcore.figures import attention, curves, memory, strip

    image, first, second = np.zeros((8, 8, 3), np.uint8), np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])
    table = numbers.table(attention.attention_difference(first, second, names=("before", "after")))
    assert table.loc[1].to_dict() == {"row": 1, "column": 2, "before": 0.5, "after": 0.75, "difference": 0.25}
    assert numbers.table(attention.attention_overlay(image, first))["attention"].tolist() == [0.5, 0.5]
    table = numbers.table(memory.memory_bars([{"method": "lora", "frozen_weights": 7, "activations": 5}]))
    assert table["bytes"].tolist() == [7, 5] and table["component"].tolist() == ["frozen weights", "kept activations"]
    steps = pd.DataFrame({"step": [1, 2], "loss": [2.0, 1.0], "lr": [0.1, 0.2]})
    assert numbers.table(curves.learning_rate_curve(steps, 2)).columns.tolist() == ["name", "step", "learning rate"]
    for nothing in (strip.image_strip([image], [0], ["cat"]), attention.patch_picker(image, (2, 2))):
        assert numbers.table(nothing).empty


@pytest.mark.parametrize("score", ["taylor", "taylor_signed", "energy"])
def test_scores_computed_now(at, trained, score, monkeypatch):
    monkeypatch.setattr(cached, "SCORED_IMAGES", 40)
    app = at("heads", run=trained["lora"], score=score)
    assert not app.error and f" by {score} in " in text(app)


@pytest.mark.parametrize("wrong", [{"layer": 99}, {"head": "x"}, {"projection": "z"}, {"image": -3}, {"query": "9"}])
def test_a_link_that_names_what_is_not_there_still_shows_the_run(at, trained, wrong):
    app = at("heads", run=trained["lora"], **wrong)
    assert "Tuning moved" in text(app) and not app.error


def test_a_run_that_is_not_there_is_said(at, trained):
    assert "There is no run 99" in text(at("heads", run=99))


def test_a_side_method_has_no_head_scores_says_so_and_what_has(at, trained):
    app = at("heads", run=trained["last"])
    assert "has no head scores" in text(app)
    [link] = [link for link in app.get("page_link") if link.proto.label == "Launch LoRA on this task"]
    assert "method=lora" in link.proto.query_string


def test_without_runs_there_is_an_example_or_an_invitation(at, monkeypatch):
    from peftcore.store import gallery

    monkeypatch.setattr(gallery, "names", lambda: ())
    monkeypatch.setattr(subjects, "looked_through", list)
    assert "no run to look at yet" in text(at("heads"))


def test_energy_on_the_page_is_the_library_s(trained, store, engine):
    from peftcore import adapters
    from peftcore.probes.responsiveness import head_energy

    subject = subjects.named(str(trained["lora"]))
    model = adapters.from_bytes(store.get_artifact(trained["lora"], "adapter"))
    np.testing.assert_array_equal(cached.head_scores(subject, "energy").values, head_energy(model).values)


def test_a_score_that_is_summed_over_layers_is_ranked_once():
    from app.heads.shown import Shown

    def shown(values):
        return Shown(None, values, None, None, values, "", "q+v", None)

    summed = shown(np.repeat([[3.0, 1.0, 2.0]], 4, axis=0))
    assert summed.count == 3 and summed.ranks.tolist() == [[1, 3, 2]] * 4
    assert summed.together(2) == ", as in all of layers 1 to 4"
    stages = shown(np.array([[4.0, 1.0], [4.0, 1.0], [2.0, 3.0]]))
    assert stages.count == 4 and stages.ranks.tolist() == [[1, 4], [1, 4], [3, 2]]
    assert (stages.together(0), stages.together(2)) == (", as in all of layers 1 to 2", "")
    none = np.nan
    assert shown(np.zeros((4, 3))).count == 12, "nothing has moved yet"
    assert shown(np.array([[0, 0, none, none]] * 2 + [[0.0] * 4] * 2)).count == 12
    alone = shown(np.array([[0, 0], [3, 1], [0, 0], [0, 0]]))
    assert alone.count == 8 and alone.together(2) == ""
