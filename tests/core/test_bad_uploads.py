"""Bad uploads are refused or left out by name, and the disk is as it was, whatever goes wrong."""

from __future__ import annotations

import io
import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from bad_uploads import CASES, good, limits_of, tarred, zipped

from peftcore import errors, uploads
from peftcore.uploads import intake, looking, survey


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below it, with size and time."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() or path.is_symlink()
    } | {str(path.relative_to(folder)) + "/": (0, 0) for path in folder.rglob("*") if path.is_dir()}


def outcome(case, source) -> str:
    """The refusal, or what is left out and noted."""
    try:
        found = uploads.examine(source, limits=limits_of(case))
    except errors.HeadroomError as error:
        assert case.refused, error
        return str(error)
    assert not case.refused, f"{case.kind} was not refused"
    try:
        if found.skipped:
            with pytest.raises(errors.BadData, match="agree to leaving such files out"):
                uploads.keep(found, "bad")
        return "\n".join([*(f"{file}: {why}" for file, why in found.skipped), *found.notes])
    finally:
        found.discard()


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"\W+", "-", case.kind))
def test_bad_is_refused_or_left_out_with_its_sentence_and_the_disk_as_before(case, stocked, tmp_path):
    (tmp_path / "made").mkdir()
    source = case.make(tmp_path / "made")
    before = tree(tmp_path)
    sentence = outcome(case, source)
    assert re.search(case.says, sentence), sentence
    assert tree(tmp_path) == before
    assert "\n" not in sentence or not case.refused
    assert all(c.isprintable() or c == "\n" for c in sentence), "names are shown in printable letters"


def test_there_are_at_least_forty_kinds():
    assert len(CASES) >= 40 and len({case.kind for case in CASES}) == len(CASES)


def test_every_kind_is_reported():
    page = (Path(__file__).resolve().parents[2] / "docs" / "bad_archives.md").read_text()
    for case in CASES:
        kind = case.kind.replace("\\", "\\\\")
        assert f"| {kind} |" in page, f"run python scripts/bad_archives.py: {kind} is missing"


# ------------------------------------------------------------------------------------------- safety as laws


def test_an_archive_with_flipped_bytes_is_read_or_refused_with_a_sentence(stocked, tmp_path):
    """Whichever bytes of a good archive are changed, the only error is a sentence, and nothing is written elsewhere."""
    rng = np.random.default_rng(0)
    makers = (zipped, lambda f, x: tarred(f, x, "set.tar"), lambda f, x: tarred(f, x, "set.tar.gz"))
    before = tree(stocked)
    for make in makers:
        (folder := tmp_path / f"m{len(list(tmp_path.iterdir()))}").mkdir()
        whole = np.frombuffer(make(folder, good()).read_bytes(), np.uint8)
        for _ in range(60):
            bad = whole.copy()
            places = rng.integers(0, len(bad), rng.integers(1, 6))
            bad[places] = rng.integers(0, 256, len(places))
            try:
                uploads.examine(io.BytesIO(bad.tobytes())).discard()
            except errors.HeadroomError as error:
                assert str(error)
    assert tree(stocked) == before


def test_a_full_disk_is_reported_and_left_as_it_was(stocked, tmp_path, monkeypatch):
    source = zipped(tmp_path, good())
    before = tree(stocked)
    monkeypatch.setattr(intake, "disk_usage", lambda path: type("Usage", (), {"free": 10}))
    with pytest.raises(errors.StoreUnavailable, match="10 bytes are free; make room"):
        uploads.examine(source)
    monkeypatch.undo()
    monkeypatch.setenv("HEADROOM_HOME", str(stocked))
    opened, written = Path.open, []

    def full(self, mode="r", *rest, **more):
        if mode == "xb" and len(written) == 3:
            raise OSError(28, "No space left on device")
        written.append(self)
        return opened(self, mode, *rest, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(errors.StoreUnavailable, match="The disk of .* is full; make room"):
        uploads.examine(source)
    assert tree(stocked) == before


def test_who_stops_it_leaves_the_disk_as_it_was(stocked, tmp_path):
    """`tell` may raise at any of its calls."""
    source, before, shares = zipped(tmp_path, good()), tree(stocked), []
    for stop in range(100):

        def tell(what, share, stop=stop):
            shares.append(share)
            if len(shares) > stop:
                raise KeyboardInterrupt

        shares.clear()
        try:
            uploads.examine(source, tell=tell).discard()
        except KeyboardInterrupt:
            assert tree(stocked) == before
        else:
            break
    assert stop > 3 and tree(stocked) == before and all(0 <= share <= 1 for share in shares)


def test_who_stops_it_waits_for_the_images_at_work_alone(stocked, tmp_path, monkeypatch):
    """Every image is reported, though they be large and few."""
    read, looks = [], []
    whole = looking.read_pixels

    def slow(path, limits):
        read.append(path)
        time.sleep(0.02)
        return whole(path, limits)

    def tell(what, share):
        looks.append(what)
        if looks.count("Looking at every image") > 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(looking, "read_pixels", slow)
    with pytest.raises(KeyboardInterrupt):
        uploads.examine(zipped(tmp_path, good("ab", 20)), tell=tell)
    assert len(read) < 10


@pytest.mark.parametrize("make", [zipped, tarred])
def test_what_somebody_may_not_add_ends_it_before_it_is_written_or_decoded(make, stocked, tmp_path, monkeypatch):
    before, source, most = tree(stocked), make(tmp_path, good()), 0
    monkeypatch.setattr(looking, "read_pixels", lambda *_: pytest.fail("an image is decoded"))

    def allow(images, adds):
        nonlocal most
        most = max(most, sum(path.stat().st_size for path in survey.shelf().glob(".*/images/*/*")))
        if images > 7 or adds > limit:
            raise errors.InvalidSetting("That is too much.")

    for limit in (300, 10**6):  # of bytes; the second time it is one image too many
        with pytest.raises(errors.InvalidSetting, match="too much"):
            uploads.examine(source, allow=allow)
        assert tree(stocked) == before
        assert most <= limit
    assert most > 300


def test_a_survey_holds_nothing_but_its_images(stocked, tmp_path):
    files = good() | {"a/bad.png": b"x", "a/notes.txt": b"hello", "stray.png": good()["a/0.png"]}
    found = uploads.examine(zipped(tmp_path, files))
    there = [path for path in found.folder.rglob("*") if path.is_file()]
    assert {path.relative_to(found.folder).as_posix() for path in there} == {*found.files} == {*good()}
    assert sum(path.stat().st_size for path in there) == found.bytes


def test_what_a_killed_process_left_goes_a_day_later(stocked, tmp_path):
    for name, age in (("old", 2 * survey.FORGOTTEN), ("new", 60)):
        (left := survey.shelf() / f"{survey.UNPACKING}{name}").mkdir()
        when = left.stat().st_mtime - age
        os.utime(left, (when, when))
    uploads.examine(zipped(tmp_path, good())).discard()
    assert [path.name for path in survey.shelf().glob(".*")] == [f"{survey.UNPACKING}new"]
