"""What a visitor and a link may not do: queue without end, load a large backbone by opening a page, name a folder."""

from __future__ import annotations

import os

import pytest

from app import caps, heavy, room
from app.desk import Desk
from peftcore import errors
from peftcore.fetch.confined import VARIABLE
from peftcore.spec import RunSpec

LARGE = "vit_tiny_patch16_224"  # large as far as a page knows: it does not come with Headroom


def test_what_waits_is_counted_by_visitor_and_in_all(engine, store, monkeypatch):
    monkeypatch.setattr(caps.st, "session_state", {})
    monkeypatch.setenv(caps.OWN, "3")
    run = caps.submit(RunSpec())
    caps.submit_race([RunSpec(), RunSpec(seed=1)])
    for queue in (lambda: caps.submit(RunSpec()), lambda: caps.resume(run), lambda: caps.submit_race([RunSpec()] * 2)):
        with pytest.raises(errors.InvalidSetting, match="one visitor may have 3 waiting"):
            queue()
    assert len(store.waiting()) == 3
    store.set_status(run, "cancelled")
    caps.resume(run)
    monkeypatch.setattr(caps.st, "session_state", {})  # another visitor
    monkeypatch.setenv(caps.ALL, "4")
    caps.submit(RunSpec())
    with pytest.raises(errors.InvalidSetting, match="4 may wait in all"):
        caps.submit(RunSpec())
    engine.submit(RunSpec())  # as the command line and the library do
    monkeypatch.setenv(caps.OWN, "many")
    with pytest.raises(errors.InvalidSetting, match="HEADROOM_WAITING=many"):
        caps.submit(RunSpec())


@pytest.mark.parametrize("options", [{"target_modules": "(a+)+$"}, {"alpha_pattern": {"(a+)+$": 1}}, {"x": [["/etc"]]}])
def test_no_pattern_and_no_path_is_queued(engine, store, monkeypatch, options):
    monkeypatch.setattr(caps.st, "session_state", {})
    with pytest.raises(errors.InvalidSetting, match="must be a plain name"):
        caps.submit(RunSpec(method={"name": "hf_peft", "options": options}))
    plain = {"target_modules": ["qkv", "attn.proj"], "rank_pattern": {"qkv": 4}, "init_lora_weights": "pissa_niter_16"}
    caps.submit(RunSpec(method={"name": "hf_peft", "options": plain}))
    caps.submit(RunSpec(method={"name": "hf_peft", "options": {"target_modules": "all-linear"}}))


@pytest.fixture
def large(trained, store, monkeypatch) -> int:
    """A run of a backbone that does not come with Headroom; to load one fails the test."""
    spec = store.run(trained["lora"]).spec | {"backbone": LARGE}
    run = store.create_run(spec)
    store.append(run, store.events(trained["lora"]), {"adapter": store.get_artifact(trained["lora"], "adapter")})
    store.set_status(run, "finished", summary=store.run(trained["lora"]).summary)

    def load(name: str, *_: object, **__: object) -> None:
        raise AssertionError(f"{name} was loaded by opening a page")

    monkeypatch.setattr("peftcore.backbone.load.load_backbone", load)
    monkeypatch.setattr(heavy, "needed", lambda name: Desk().know(name, 2_000_000_000))
    monkeypatch.setattr(heavy, "free", lambda: 8_000_000_000)
    return run


@pytest.mark.parametrize(
    "page, more",
    [("heads", {}), ("heads", {"score": "taylor"}), ("attention", {"image": "photo-china"}), ("attribution", {}),
     ("tasks", {"task": "digits", "view": "features", "backbone": LARGE})],
)  # fmt: skip
def test_opening_a_page_loads_no_large_backbone(at, large, monkeypatch, page, more):
    shown = at(page, **({} if page == "tasks" else {"run": large}), **more)
    assert any(button.key and button.key.endswith("_load") for button in shown.button)
    assert any("2 GB of memory; 8 GB are free" in info.value for info in shown.info) and not shown.error
    if page == "attribution":  # one of them is enough
        monkeypatch.setattr(heavy, "free", lambda: 1_000_000_000)
        shown = at(page, run=large)
        assert any("So it is not loaded here." in warning.value for warning in shown.warning)
        assert not any(button.key and button.key.endswith("_load") for button in shown.button)


def test_the_bill_warns_where_the_machine_has_less(monkeypatch):
    monkeypatch.setattr(heavy, "memory", lambda device: 16_000_000_000)
    assert "about 90 GB, and this machine has 16 GB" in heavy.too_much(90_000_000_000, "auto")
    assert heavy.too_much(15_000_000_000, "auto") == ""


@pytest.mark.parametrize(
    "address, shared",
    [("localhost", False), ("127.0.0.1", False), ("::1", False), ("0.0.0.0", True), ("192.168.1.5", True),
     ("", True), ("lab.example", True)],
)  # fmt: skip
def test_a_room_without_a_folder_names_none(monkeypatch, address, shared):
    monkeypatch.setattr(room.st, "get_option", lambda name: address)
    monkeypatch.setenv(VARIABLE, "")
    assert room.is_room() == shared
    room.confine()
    assert os.environ[VARIABLE] == ("none" if shared else "")
    monkeypatch.setenv(VARIABLE, "/data")
    room.confine()
    assert os.environ[VARIABLE] == "/data"
