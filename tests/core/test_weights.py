"""Curated backbones, the search for weights, and fetching them, complete or not at all. No network."""

from __future__ import annotations

import errno
import http.server
import json
import shutil
import struct
import threading
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

import peftcore as pc
from peftcore import errors
from peftcore.backbone import embedded
from peftcore.fetch import backbones, places, transfer, weight_files
from peftcore.fetch.curated import CURATED

NAME = "vit_tiny_patch16_224.augreg_in21k"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A hub with one repository: its weights file."""
    file = tmp_path_factory.mktemp("hub") / "model.safetensors"
    save_file(pc.load_backbone(NAME, pretrained=False, seed=5).module.state_dict(), file)
    return file


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADROOM_WEIGHTS", str(tmp_path / "shelf"))
    return tmp_path / "shelf"


@pytest.fixture
def hub(source, monkeypatch):
    monkeypatch.setattr(backbones, "address", lambda repo, file: source.as_uri())


@pytest.mark.parametrize("name", CURATED)
def test_curated_numbers_are_timms(name):
    import timm
    from timm.models import get_pretrained_cfg

    one, config = CURATED[name], get_pretrained_cfg(name, allow_unregistered=False)
    with torch.device("meta"):
        module = timm.create_model(name, pretrained=False, num_classes=0)
    assert (one.name, one.parameters) == (name, sum(p.numel() for p in module.parameters()))
    assert one.bytes == sum(p.numel() * 4 for p in module.parameters())
    assert one.licence == config.license and one.title and one.trained_on
    assert places.repository(name) == config.hf_hub_id and not config.hf_hub_filename


def test_curated_backbones_come_after_the_embedded_ones():
    names, own = pc.backbones(), embedded.names()
    assert names[: len(own) + len(CURATED)] == [*own, *CURATED] and len(set(names)) == len(names)


def test_a_name_gets_the_tag_of_its_weights():
    assert places.tagged("vit_tiny_patch16_224") == "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    assert places.tagged(NAME) == NAME
    with pytest.raises(errors.UnknownName, match="augreg_in21k"):
        places.tagged("vit_tiny_patch16_224.augreg_in22k")
    with pytest.raises(errors.UnknownName, match="vit_tiny_patch16_224"):
        places.tagged("vit_tinny_patch16_224")


def test_fetched_weights_are_loaded(hub, shelf):
    assert not places.here(NAME)
    with pytest.raises(errors.WeightsUnavailable, match=f"peftcore fetch {NAME}"):
        pc.load_backbone(NAME)
    progress = []
    file = backbones.fetch(NAME, tell=lambda done, total: progress.append((done, total)))
    assert file == shelf / f"{NAME}.safetensors" and list(shelf.iterdir()) == [file] and places.here(NAME)
    assert progress[0][0] == 0 and progress[-1] == (file.stat().st_size,) * 2 and progress == sorted(progress)
    loaded = pc.load_backbone(NAME)
    assert loaded.pretrained and loaded.fingerprint == pc.load_backbone(NAME, pretrained=False, seed=5).fingerprint
    assert not pc.load_backbone(NAME, pretrained=False).pretrained  # random weights stay a choice
    before = file.stat().st_mtime_ns
    assert backbones.fetch(NAME) == file and file.stat().st_mtime_ns == before


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stopped_download_leaves_nothing_that_counts_and_goes_on(hub, shelf, monkeypatch, stop):
    def tell(done, total):
        if done:
            raise stop

    with pytest.raises(stop):
        backbones.fetch(NAME, tell=tell)
    assert [one.name for one in shelf.iterdir()] == [transfer.PARTS] and not places.here(NAME)
    assert weight_files.whole(backbones.fetch(NAME)) and len(list(shelf.iterdir())) == 1


def test_half_a_file_never_counts(source, shelf):
    file, data = shelf / f"{NAME}.safetensors", source.read_bytes()
    shelf.mkdir()
    file.write_bytes(data)
    assert places.here(NAME)
    cuts = (0, 4, 8, 100, len(data) // 2, len(data) - 1)
    for part in (*(data[:cut] for cut in cuts), data + b"0", b"<html>not found</html>", struct.pack("<Q", 2) + b"{}"):
        file.write_bytes(part)
        assert not places.here(NAME), len(part)
    with pytest.raises(errors.WeightsUnavailable, match="does not hold weights"):  # reported, not skipped
        pc.load_backbone(NAME)


def test_a_half_file_is_fetched_anew(hub, source, shelf):
    shelf.mkdir()
    (shelf / f"{NAME}.safetensors").write_bytes(source.read_bytes()[:1000])
    assert weight_files.whole(backbones.fetch(NAME))


def test_the_hubs_own_cache_counts(source, tmp_path, shelf, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    repo = tmp_path / "cache" / f"models--timm--{NAME}"
    snapshot = repo / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("abc")
    assert not places.here(NAME)
    (snapshot / "model.safetensors").write_bytes(source.read_bytes()[:5000])
    assert not places.here(NAME)
    (snapshot / "model.safetensors").write_bytes(source.read_bytes())
    assert places.here(NAME)


def test_embedded_weights_are_here():
    assert places.here("vit_micro") and places.fetched("vit_micro") is None
    with pytest.raises(errors.WeightsUnavailable, match="comes with Headroom"):
        backbones.fetch("vit_micro")


class Server(http.server.BaseHTTPRequestHandler):
    """Promises more bytes than it sends, or answers with an error."""

    status, body, promised = 200, b"", 0

    def do_GET(self):
        self.send_response(self.status)
        self.send_header("Content-Length", str(self.promised or len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    server = http.server.HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    where = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(backbones, "address", lambda repo, file: f"{where}/{repo}/{file}")
    yield where
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "answer, message",
    [
        ({"body": b"x" * 100, "promised": 5000}, "could not be downloaded"),
        ({"body": b"<html>", "status": 503}, "503"),
        ({"body": b"nothing", "status": 404}, "404"),
        ({"body": b"<html>log in</html>"}, "not a whole safetensors file"),
    ],
    ids=["hangs up", "busy", "nothing there", "a page"],
)
def test_what_the_hub_may_send_instead_is_a_sentence(server, shelf, monkeypatch, answer, message):
    for key, value in answer.items():
        monkeypatch.setattr(Server, key, value)
    with pytest.raises(errors.WeightsUnavailable, match=message):
        backbones.fetch(NAME)
    assert not list(shelf.iterdir())


def test_weights_of_another_architecture_are_not_kept(shelf, tmp_path, monkeypatch):
    other = tmp_path / "other.safetensors"
    save_file({"cls_token": torch.zeros(1, 1, 4)}, other)
    monkeypatch.setattr(backbones, "address", lambda repo, file: other.as_uri())
    with pytest.raises(errors.WeightsUnavailable, match="does not hold weights"):
        backbones.fetch(NAME)
    assert not list(shelf.iterdir())


def test_no_way_to_the_hub_is_a_sentence(shelf, monkeypatch):
    monkeypatch.setattr(backbones, "address", lambda repo, file: "http://127.0.0.1:9/nothing")
    with pytest.raises(errors.WeightsUnavailable, match="Connect to the network"):
        backbones.fetch(NAME)
    assert not list(shelf.iterdir())


def test_what_cannot_be_fetched_by_its_name_is_not_advised_to_be():
    assert f"peftcore fetch {NAME}" in places.why_no_weights(NAME, "no way")
    message = places.why_no_weights(f"hf-hub:timm/{NAME}", "no way")
    assert "peftcore fetch" not in message and "try again, give a local file with weights=" in message


def test_a_full_disk_and_a_path_that_is_not_a_folder_are_errors(hub, shelf, monkeypatch):
    with monkeypatch.context() as full:
        full.setattr(transfer.shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
        with pytest.raises(errors.WeightsUnavailable, match="do not fit into the 1 MB"):
            backbones.fetch(NAME)

    def tell(done, total):
        if done:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(errors.WeightsUnavailable, match="No space left on device"):
        backbones.fetch(NAME, tell=tell)
    assert not places.here(NAME) and [one.name for one in shelf.iterdir()] == [transfer.PARTS]
    shutil.rmtree(shelf)
    shelf.write_text("a file")
    with pytest.raises(errors.WeightsUnavailable, match="HEADROOM_WEIGHTS"):
        backbones.fetch(NAME)


def test_the_command_lines_answers(hub, shelf, capsys):
    from peftcore.__main__ import app

    app(["fetch", NAME, "--json"], standalone_mode=False)
    [answer] = json.loads(capsys.readouterr().out)
    assert answer == {
        "name": NAME,
        "file": str(shelf / f"{NAME}.safetensors"),
        "bytes": places.fetched(NAME).stat().st_size,
    }
    app(["backbones", "--json"], standalone_mode=False)
    listed = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert listed["vit_micro"]["here"] and listed["vit_base_patch16_224.mae"]["licence"] == "cc-by-nc-4.0"
    assert listed["vit_base_patch16_224.orig_in21k"]["bytes"] == 4 * 85_798_656
    app(["backbones"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert all(name in shown for name in CURATED) and "beit" not in shown
    app(["backbones", "beit"], standalone_mode=False)
    assert "beit_base_patch16_224" in capsys.readouterr().out
