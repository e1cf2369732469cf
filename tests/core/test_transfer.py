"""Downloads: complete or not at all, resumed where they stopped, reported and stoppable while a run waits."""

from __future__ import annotations

import errno
import threading
from types import SimpleNamespace
from urllib.error import HTTPError, URLError

import pytest
from serving import serving

from peftcore import errors
from peftcore.events import Download, from_dict
from peftcore.fetch import arrivals, backbones, places, transfer
from peftcore.spec import RunSpec

DATA = bytes(range(256)) * 4000  # about a megabyte


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(files={"/file.bin": DATA}) as server:
        yield server


@pytest.fixture
def goal(tmp_path):
    return tmp_path / "place" / "file.bin"


class Enough(Exception):
    pass


def stop_at(share):
    def tell(done, total):
        if total and done >= share * total:
            raise Enough

    return tell


def test_a_file_is_there_whole_and_nothing_beside_it(server, goal):
    progress = []
    assert transfer.download(f"{server.url}/file.bin", goal, lambda *now: progress.append(now)) == goal
    assert goal.read_bytes() == DATA and list(goal.parent.iterdir()) == [goal]
    assert progress[0] == (0, len(DATA)) and progress[-1] == (len(DATA), len(DATA)) and progress == sorted(progress)
    server.asked.clear()
    transfer.download(f"{server.url}/file.bin", goal)
    assert not server.asked  # it is here


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_stopped_download_goes_on_from_what_has_come(server, goal, share):
    with pytest.raises(Enough):
        transfer.download(f"{server.url}/file.bin", goal, stop_at(share))
    assert not goal.exists()
    had = transfer.kept(goal)
    assert had >= share * len(DATA)
    server.asked.clear()
    transfer.download(f"{server.url}/file.bin", goal)
    assert goal.read_bytes() == DATA and list(goal.parent.iterdir()) == [goal]
    assert server.asked == ([] if had == len(DATA) else [("/file.bin", f"bytes={had}-" if had else None)])


def test_a_connection_that_ends_early_leaves_what_has_come(server, goal):
    server.cut = 400_000
    for sent in (400_000, 800_000):
        with pytest.raises(ConnectionError, match=f"{sent / 1e6:.1f} of 1.0 MB"):
            transfer.download(f"{server.url}/file.bin", goal)
        assert transfer.kept(goal) == sent and not goal.exists()
    transfer.download(f"{server.url}/file.bin", goal)
    assert goal.read_bytes() == DATA


def test_another_file_under_the_same_address_begins_anew(server, goal):
    with pytest.raises(Enough):
        transfer.download(f"{server.url}/file.bin", goal, stop_at(0.5))
    server.files["/file.bin"] = DATA[::-1]
    transfer.download(f"{server.url}/file.bin", goal)
    assert goal.read_bytes() == DATA[::-1]
    goal.unlink()
    with pytest.raises(Enough):
        transfer.download(f"{server.url}/file.bin", goal, stop_at(0.5))
    server.files["/file.bin"] = DATA[:1000]  # shorter than what has come
    transfer.download(f"{server.url}/file.bin", goal)
    assert goal.read_bytes() == DATA[:1000]


def test_a_server_without_ranges_sends_it_all_again(server, goal):
    with pytest.raises(Enough):
        transfer.download(f"{server.url}/file.bin", goal, stop_at(0.5))
    server.ranges = False
    transfer.download(f"{server.url}/file.bin", goal)
    assert goal.read_bytes() == DATA


def test_what_fails_its_check_is_not_kept(server, goal):
    with pytest.raises(transfer.Damaged, match="sha256"):
        transfer.download(f"{server.url}/file.bin", goal, check=transfer.has_digest("0" * 64))
    assert not goal.exists() and not transfer.kept(goal) and not list(goal.parent.iterdir())


def test_two_that_want_one_file_fetch_it_once(server, goal):
    another_waits = threading.Event()
    server.after = lambda: another_waits.wait(60)

    def tell(done, total):
        if total is None:  # another one downloads
            another_waits.set()

    arguments = (f"{server.url}/file.bin", goal, tell)
    threads = [threading.Thread(target=transfer.download, args=arguments) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert goal.read_bytes() == DATA and len(server.asked) == 1 and list(goal.parent.iterdir()) == [goal]


def test_a_lock_may_vanish_with_its_folder_while_somebody_waits(tmp_path):
    lock, waits, seen = tmp_path / "parts" / "lock", threading.Event(), []

    def wait():
        with transfer.only_one(lock, lambda *_: waits.set()):
            seen.append(lock.is_file())

    with transfer.only_one(lock, lambda *_: None):
        thread = threading.Thread(target=wait)
        thread.start()
        assert waits.wait(60)
        lock.unlink()
        lock.parent.rmdir()
        thread.join(60)
    assert seen == [True]


def test_who_waits_for_another_may_stop(tmp_path):
    lock, stopped = tmp_path / "lock", []

    def wait():
        def tell(done, total):
            raise Enough

        with pytest.raises(Enough), transfer.only_one(lock, tell):
            raise AssertionError("two at once")
        stopped.append(True)

    with transfer.only_one(lock, lambda *_: None):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(60)
    assert stopped and not lock.is_file()


def test_faults_come_as_what_they_are(server, goal, monkeypatch):
    with pytest.raises(HTTPError, match="404"):
        transfer.download(f"{server.url}/nothing", goal)
    with pytest.raises(URLError, match="refused"):
        transfer.download("http://127.0.0.1:9/file.bin", goal)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match="do not fit") as full:
        transfer.download(f"{server.url}/file.bin", goal)
    assert full.value.errno == errno.ENOSPC and not goal.exists()


# Runs

NAME = "vit_tiny_patch16_224.augreg_in21k"
SPEC = RunSpec(backbone=NAME, method={"name": "linear"}, task="digits", epochs=1)


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """A hub whose weights file is not one, which is enough to start a download; nothing is here."""
    monkeypatch.setenv("HEADROOM_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(places, "here", lambda name: False)
    monkeypatch.setattr(backbones, "address", lambda repo, file: f"{server.url}/{file}")
    server.files["/model.safetensors"] = DATA
    monkeypatch.setattr(arrivals, "TELL_SECONDS", 0.05)
    monkeypatch.setattr(arrivals, "LOOK_SECONDS", 0.01)
    return server


def test_a_run_tells_how_far_its_weights_are_and_keeps_them_when_it_is_closed(hub, monkeypatch):
    monkeypatch.setattr(arrivals, "RECENT_SECONDS", 3600.0)
    monkeypatch.setattr(arrivals, "LEAVE_SECONDS", 0.0)
    wanted, sent = threading.Semaphore(0), 0
    hub.after = lambda: wanted.acquire(timeout=60)
    stream, events = arrivals.arrivals(SPEC), []
    while not events or events[-1].done < len(DATA) / 2:
        events.append(next(stream))
        while sent < events[-1].done // hub.piece:  # the next piece is sent once this one was events of
            wanted.release()
            sent += 1
    [download] = [thread for thread in threading.enumerate() if thread.name == "headroom-download"]
    stream.close()
    wanted.release(len(DATA))
    download.join(60)
    assert all(isinstance(event, Download) and from_dict(event.to_dict()) == event for event in events)
    assert {event.what for event in events} == {NAME} and events[-1].total == len(DATA) and events[-1].speed > 0
    assert [event.done for event in events] == sorted(event.done for event in events)
    goal = places.folder() / f"{NAME}.safetensors"
    had = transfer.kept(goal)
    assert had >= events[-1].done and not goal.exists() and not places.fetched(NAME)
    hub.asked.clear()
    with pytest.raises(errors.WeightsUnavailable, match="not a whole safetensors file"):  # so it came to its end
        list(arrivals.arrivals(SPEC))
    assert hub.asked == [("/model.safetensors", f"bytes={had}-")] and not transfer.kept(goal)


def test_a_connection_that_ends_is_a_sentence_of_the_run(hub):
    hub.cut = 300_000
    with pytest.raises(errors.WeightsUnavailable, match="0.3 MB that have come are kept for the next time"):
        list(arrivals.arrivals(SPEC))


def test_present_or_unwanted_weights_are_not_downloaded(hub, monkeypatch):
    assert not list(arrivals.arrivals(SPEC, with_weights=False))
    assert not list(arrivals.arrivals(SPEC.replace(pretrained=False)))
    monkeypatch.setattr(places, "here", lambda name: True)
    assert not list(arrivals.arrivals(SPEC)) and not hub.asked
