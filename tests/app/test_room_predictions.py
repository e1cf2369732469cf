"""What pages tell of a task or a backbone before anything is launched: nothing of what is somebody else's, and nothing
for which the network would be asked."""

from __future__ import annotations

import socket

import pytest

from app import heavy, state
from app.launch import costs
from app.memory import batch_sizes, cases, measuring
from app.runs import following
from peftcore import errors, uploads
from peftcore.engine.room import challenge
from peftcore.fetch import places
from peftcore.spec import RunSpec

HUB = "hf-hub:somebody/vit"
PREDICT = (  # as who looks at the page: a bill, Memory, its measuring and its search
    lambda task, backbone: costs.of(RunSpec(task=task, backbone=backbone, method="linear", pretrained=False)),
    lambda task, backbone: cases.predicted(case(task, backbone)),
    lambda task, backbone: measuring.measure(case(task, backbone)),
)


def case(task: str, backbone: str) -> cases.Case:
    return cases.Case("linear", backbone, "4", "fp32", "cpu", task=task)


def text(app) -> str:
    kinds = (app.error, app.warning, app.caption, app.markdown, app.info)
    return " ".join(str(one.value) for kind in kinds for one in kind).replace("\\", "")


@pytest.fixture
def asked(monkeypatch, tmp_path) -> list[object]:
    """What was asked of the network."""
    found: list[object] = []

    def refuse(host, *_: object, **__: object):
        found.append(host)
        raise OSError(f"the network was asked for {host}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(places, "_resolves", lambda host: found.append(host) or True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    for desk in (measuring._bench, batch_sizes._desk):
        desk.clear()
    return found


@pytest.mark.parametrize("predict", PREDICT)
def test_what_nobody_may_look_at_is_as_what_does_not_exist(as_, engine, room, monkeypatch, predict):
    from peftcore.task import load_task

    digits = load_task("digits")
    monkeypatch.setattr(uploads, "kept", lambda: ["cats"])
    for module in (
        "peftcore.memory.predict.load_task",
        "peftcore.task.load_task",
        "peftcore.bench._real_step.load_task",
    ):
        monkeypatch.setattr(module, lambda name, *_: digits)
    room.own("upload:cats", "Ana")
    room.set(looking="own")
    for name in ("Ana", "Teacher"):
        as_(name)
        assert not isinstance(predict("upload:cats", "vit_micro").result(60), Exception)
    as_("Bo")
    said = [predict(f"upload:{name}", "vit_micro").result(60) for name in ("cats", "none")]
    assert [type(one) for one in said] == [errors.NotYours] * 2  # whoever asked before
    assert str(said[0]) == str(said[1]).replace("none", "cats")
    if predict is PREDICT[2]:
        assert measuring.measured(case("upload:cats", "vit_micro")) is None
    if predict is PREDICT[1]:
        batch_sizes.begin([case("upload:cats", "vit_micro")])
        assert batch_sizes.found(case("upload:cats", "vit_micro")) is None


@pytest.mark.parametrize("name", [HUB, "hf_hub:somebody/vit", "HF-HUB:somebody/vit", "local-dir:/somewhere"])
def test_nothing_that_a_page_tells_asks_the_network(as_, engine, asked, name):
    as_("Ana")
    before = len(asked)
    for predict in PREDICT:
        assert isinstance(predict("digits", name).result(60), errors.HeadroomError)
        assert not isinstance(predict("digits", "vit_micro").result(60), Exception)
    assert isinstance(heavy.needed(name).result(60), errors.HeadroomError)
    assert isinstance(PREDICT[1]("hf:somebody/images", "vit_micro").result(60), errors.NotYours)
    as_("Teacher")
    if name == HUB:  # which the teacher may launch: what it costs is told later
        with pytest.raises(errors.DataUnavailable, match="nothing is fetched to predict"):
            PREDICT[0]("digits", name).result(60)
        assert costs.known_fault([RunSpec(backbone=name)]) is None
    assert isinstance(PREDICT[1]("digits", name).result(60), errors.HeadroomError)
    assert len(asked) == before


def test_a_backbone_that_is_here_is_read_without_a_word_to_the_hub(as_, engine, asked, monkeypatch):
    monkeypatch.setattr(places, "here", lambda name: True)  # its configuration is gone meanwhile
    as_("Teacher")
    assert isinstance(PREDICT[1]("digits", HUB).result(60), errors.HeadroomError) and not asked


def test_pages_with_such_names_ask_no_network(at, as_, asked):
    as_("Ana")
    pages = [("launch", {"method": "heart_lora"}), ("memory", {"methods": "linear"}), ("tasks", {"task": "digits"}),
             ("tasks", {"task": "digits", "view": "features"})]  # fmt: skip
    for page, query in pages:
        shown = at(page, backbone=HUB, **query)
        assert "would be downloaded" in text(shown), page
    shown = at("tasks", task="hf:somebody/images")
    assert "Only the teacher has a task's images downloaded" in text(shown)
    assert not any(button.key and "download" in button.key for button in shown.button) and not asked


def test_what_the_teacher_looked_at_stays_sealed_for_all_others(as_, room, store, engine, trained):
    """One reader of a run feeds all who may see the same of it."""
    run = trained["lora"]
    store.append(run, [{"kind": "evaluation", "epoch": 1, "step": 1, "split": "test", "accuracy": 0.456, "loss": 1.0}])
    challenge.begin(room, challenge.Challenge("digits", 0.0))
    told = {}
    for name in ("Teacher", "Ana"):
        as_(name)
        found = following.follow(state.store(), store.run(run))
        told[name] = "0.456" in str(found.evaluations)
    assert told == {"Teacher": True, "Ana": False}
    challenge.reveal(room)
    assert "0.456" in str(following.follow(state.store(), store.run(run)).evaluations)
