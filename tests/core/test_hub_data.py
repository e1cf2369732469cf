"""Data sets and weights of the hub: fetched once, gone on with after a stop, read as they are."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from urllib.error import URLError

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from remote_data import endpoint, picture
from serving import COMMIT

from peftcore import errors
from peftcore import task as tasks
from peftcore.fetch import transfer
from peftcore.task import load_task
from peftcore.tasks.remote import hf

pytestmark = pytest.mark.usefixtures("place")


def png(n: int) -> bytes:
    data = io.BytesIO()
    picture(n).save(data, "png")
    return data.getvalue()


def table(first: int, count: int, names=("cat", "dog", "owl")) -> bytes:
    """Parquet as the hub writes it: images as bytes, classes by number, names in the schema; several row groups."""
    images = pa.array([{"bytes": png(first + i), "path": f"{i}.png"} for i in range(count)])
    labels = pa.array([(first + i) % 3 for i in range(count)], pa.int64())
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": list(names)}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    data = io.BytesIO()
    made = pa.table({"image": images, "label": labels}).replace_schema_metadata(metadata)
    parquet.write_table(made, data, row_group_size=7)
    return data.getvalue()


def publish(server, repo: str, files: dict[str, bytes], revision: str = hf.CONVERTED) -> None:
    page = {
        "id": repo,
        "sha": COMMIT,
        "siblings": [{"rfilename": file, "size": len(data)} for file, data in files.items()],
    }
    server.pages[f"/api/datasets/{repo}/revision/{revision.replace('/', '%2F')}"] = page
    for file, data in files.items():
        server.files[f"/datasets/{repo}/resolve/{COMMIT}/{file}"] = data


@pytest.fixture
def animals(server, monkeypatch):
    endpoint(monkeypatch, server.url)
    files = {
        "default/train/0000.parquet": table(0, 60),
        "default/train/0001.parquet": table(60, 40),
        "default/test/0000.parquet": table(100, 20),
    }
    publish(server, "zoo/animals", files)
    return server


ANIMALS = "hf:zoo/animals?train=60&val=20&size=8"


def test_a_data_set_of_the_hub_is_fetched_once_and_read_as_it_is(animals):
    assert not tasks.here(ANIMALS)
    progress = []
    tasks.fetch(ANIMALS, lambda *now: progress.append(now))
    assert (
        tasks.here(ANIMALS)
        and progress[-1] == (sum(map(len, animals.files.values())),) * 2
        and progress == sorted(progress)
    )
    asked = len(animals.asked)
    task = load_task(ANIMALS)
    assert task.classes == ("cat", "dog", "owl") and [len(s) for s in (task.train, task.val, task.test)] == [60, 20, 20]
    for split in (task.train, task.val, task.test):
        assert (split.images[:][:, 0, 0, 0] % 3 == split.labels).all()
    assert task.test.images[:][:, 0, 0, 0].tolist() == list(range(100, 120)) and COMMIT[:12] in task.source
    assert (task.train.images[[5, 3]] == np.stack([task.train.images[5], task.train.images[3]])).all()
    tasks.fetch(ANIMALS)
    assert len(animals.asked) == asked  # the hub is not asked again


def test_a_stopped_fetch_from_the_hub_goes_on(animals, monkeypatch):
    class Stop(Exception):
        pass

    def tell(done, total):
        if done > total * 0.7:
            raise Stop

    monkeypatch.setattr(transfer, "PIECE", 500)

    with pytest.raises(Stop):
        tasks.fetch(ANIMALS, tell)
    assert not tasks.here(ANIMALS)
    with pytest.raises(errors.DataUnavailable, match="of the 3 files"):
        load_task(ANIMALS)
    animals.asked.clear()
    tasks.fetch(ANIMALS)
    assert load_task(ANIMALS).classes and any(asked for _, asked in animals.asked)


def test_fetched_files_are_kept_in_headrooms_folder_not_in_the_hubs_cache(animals, place):
    folder = tasks.fetch(ANIMALS)
    assert folder == place / "home/datasets/hf/zoo--animals" / COMMIT and not (place / "cache").exists()
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.parquet")} == {
        path.rpartition(f"{COMMIT}/")[2] for path in animals.files
    }


def test_weights_of_a_repository_come_by_the_hubs_own_client(server, monkeypatch, place):
    """Into its cache, where timm looks for them; with progress, and stopped by what `tell` raises."""
    from huggingface_hub.errors import EntryNotFoundError
    from huggingface_hub.utils import _http

    from peftcore.fetch import hub

    endpoint(monkeypatch, server.url)
    data = bytes(range(256)) * 4000
    server.files[f"/zoo/vit/resolve/{COMMIT}/model.safetensors"] = data
    seen = []

    class Stop(Exception):
        pass

    def stop(done, total):
        if done:
            raise Stop

    with pytest.raises(Stop):
        hub.fetch("zoo/vit", "model.safetensors", stop, COMMIT)
    assert hub.cached("zoo/vit", "model.safetensors", "model", COMMIT) is None
    file = hub.fetch("zoo/vit", "model.safetensors", lambda *now: seen.append(now), COMMIT)
    assert file.read_bytes() == data and hub.cached("zoo/vit", "model.safetensors", "model", COMMIT) == file
    assert seen[0] == (0, len(data)) and seen[-1] == (len(data), len(data)) and seen == sorted(seen)
    with pytest.raises(EntryNotFoundError):
        hub.fetch("zoo/vit", "other.safetensors", stop, COMMIT)
    server.status, waited = 503, []
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=waited.append))  # 23 seconds in all
    with pytest.raises(URLError, match="503"):
        hub.fetch("zoo/vit", "third.safetensors", stop, COMMIT)
    assert waited == sorted(waited) and waited[0] > 0, "it asked again, after longer and longer"


def test_what_other_tools_have_fetched_is_not_fetched_again(animals):
    from huggingface_hub import hf_hub_download

    for file in ("default/train/0000.parquet", "default/test/0000.parquet"):
        hf_hub_download("zoo/animals", file, repo_type="dataset", revision=COMMIT, endpoint=animals.url)
    animals.asked.clear()
    tasks.fetch(ANIMALS)
    parquets = {path.rpartition("/")[2] for path, _ in animals.asked if path.endswith(".parquet")}
    assert parquets == {"0001.parquet"} and load_task(ANIMALS).classes


def test_parts_columns_and_words_as_classes(server, monkeypatch):
    endpoint(monkeypatch, server.url)
    data = io.BytesIO()
    kinds = ["red", "blue"] * 20
    columns = {"photo": [png(i) for i in range(40)], "mask": [png(0)] * 40, "kind": kinds, "taste": ["sour"] * 40}
    parquet.write_table(pa.table(columns), data)
    files = {f"{part}/train/0000.parquet": data.getvalue() for part in ("small", "large")}
    publish(server, "zoo/fruit", files)
    with pytest.raises(errors.InvalidSetting, match="config=large"):
        tasks.fetch("hf:zoo/fruit")
    with pytest.raises(errors.UnknownName, match="Did you mean 'small'"):
        tasks.fetch("hf:zoo/fruit?config=smal")
    said = "hf:zoo/fruit?train=20&val=4&size=8&config=small"
    tasks.fetch(said)
    assert not tasks.here("hf:zoo/fruit?config=large")
    with pytest.raises(errors.InvalidSetting, match="several columns of images"):
        load_task(said)
    with pytest.raises(errors.InvalidSetting, match="label=kind"):
        load_task(f"{said}&image=photo")
    with pytest.raises(errors.UnknownName, match="kind"):
        load_task(f"{said}&image=photo&label=kinds")
    task = load_task(f"{said}&image=photo&label=kind")
    assert task.classes == ("blue", "red") and (task.train.images[:][:, 0, 0, 0] % 2 == 1 - task.train.labels).all()


def test_a_class_that_has_no_name_is_a_sentence(animals):
    files = {"default/train/0000.parquet": table(0, 60, ("cat", "dog"))}
    publish(animals, "zoo/pairs", files)
    tasks.fetch("hf:zoo/pairs")
    with pytest.raises(errors.BadData, match="'label' of zoo/pairs holds 2, but the data set names 2 classes, 0 to 1"):
        load_task("hf:zoo/pairs?train=20&val=4")


def test_what_the_hub_has_not_is_a_sentence(server, monkeypatch):
    endpoint(monkeypatch, server.url)
    with pytest.raises(errors.DataUnavailable, match="no public data set 'zoo/unicorns'"):
        tasks.fetch("hf:zoo/unicorns")
    publish(server, "zoo/script", {"script.py": b"raise SystemExit"}, "main")
    with pytest.raises(errors.DataUnavailable, match="never runs a data set's own script"):
        tasks.fetch("hf:zoo/script")
    server.status = 503
    with pytest.raises(errors.DataUnavailable, match="503"):
        tasks.fetch("hf:zoo/busy")


def test_without_a_network_the_error_comes_at_once(monkeypatch):
    endpoint(monkeypatch, "http://no-such-host.invalid")
    with pytest.raises(errors.DataUnavailable, match="zoo/animals could not be downloaded .*Connect to the network"):
        tasks.fetch("hf:zoo/animals")
    assert not transfer.kept(hf._note("zoo/animals"))
