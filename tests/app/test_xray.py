"""The X-ray page: what is dropped is read or refused in a sentence, kept by its bytes, and compared."""

from __future__ import annotations

import io
import json
import pickle
import struct
import threading
import tracemalloc
import zipfile
from collections import Counter

import pytest
import torch
from drawn import figures
from petl_vit_writing import model_bytes
from streamlit.testing.v1 import AppTest
from xray_files import hf_adapter

import peftcore as pc
from app import background
from app.launch import dropped
from app.worker import OverLimit
from app.xray import sources, uploads
from app.xray.uploads import File
from peftcore import errors


def text(app: AppTest) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption, *app.info, *app.error])


def files(folder, prefix="") -> list[File]:
    return [
        File(f"{prefix}{path.relative_to(folder)}", path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def zipped(parts: list[File]) -> File:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for part in parts:
            archive.writestr(part.name, part.data)
    return File("adapter.zip", out.getvalue())


@pytest.fixture
def hf(tmp_path, store):
    folder = tmp_path / "given" / "cats"
    hf_adapter(folder)
    return folder


@pytest.fixture
def petl(store):
    """A file in PETL-ViT's layout, of a small ViT: refused by size, since the released ones are of ViT-B/16."""
    model = pc.attach(pc.load_backbone("vit_micro"), {"name": "bi_lora", "rank": 4, "bits": 1}, 5, verify=False)
    return File("digits-bit1-dim4.bin", model_bytes(model))


def test_an_example_is_there_at_once(at):
    app = at("xray")
    assert app.title[0].value == "What did this adapter change?" and not app.error
    assert "LoRA, written by Headroom" in text(app) and "trained for digits, 10 classes" in text(app)
    assert "Effective rank: exp of the entropy" in text(app)


def test_a_dropped_folder_is_read_and_named(at, hf):
    code = uploads.keep(files(hf))
    app = at("xray", adapter=f"kept-{code}-0")
    assert "LoRA, written by Hugging Face PEFT" in text(app) and "google/vit-tiny" in text(app) and not app.error
    assert "10 classes" in text(app) and app.number_input(key="xray_heads").value == 2
    app.number_input(key="xray_heads").set_value(8).run()
    assert "".join(app.query_params["heads"]) == "8" and not app.error
    assert str(hf.parent) not in text(app)


def test_the_uploader_keeps_and_shows(at, hf):
    app = at("xray")
    given = [(file.name, file.data, "application/octet-stream") for file in files(hf)]
    app.file_uploader(key="xray_drop_0").set_value(given).run()
    assert "written by Hugging Face PEFT" in text(app) and not app.exception
    assert "".join(app.query_params["adapter"]).startswith("kept-")


def test_a_drop_is_unpacked_beside_the_page_and_a_fault_stays_until_the_next(at, hf, monkeypatch):
    threads, keep = [], uploads.keep
    monkeypatch.setattr(uploads, "keep", lambda *given: threads.append(threading.current_thread().name) or keep(*given))
    app = at("xray")
    app.file_uploader(key="xray_drop_0").set_value([("a.zip", b"none", "application/zip")]).run()
    assert "The zip is truncated" in app.error[0].value and "trained for digits" in text(app)
    app.run()
    assert "The zip is truncated" in app.error[0].value
    app.file_uploader(key="xray_drop_1").set_value([(f.name, f.data, "application/zip") for f in files(hf)]).run()
    assert not app.error and "written by Hugging Face PEFT" in text(app)
    assert threads == ["headroom-page"] * 2


@pytest.mark.parametrize("prefix", ["", "cats/", "deep/er/cats/", "../../"])
def test_a_zip_of_the_folder_is_the_folder(hf, prefix):
    code = uploads.keep([zipped(files(hf, prefix))])
    [path] = uploads.adapters(uploads.found(code))
    assert uploads.folder() in path.parents
    assert {part.name for part in path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert code == uploads.keep([zipped(files(hf, prefix))])
    assert [*uploads.folder().parent.glob("adapter*.json")] == []


def test_several_adapters_of_one_zip_can_each_be_chosen(at, hf):
    hf_adapter(hf.parent / "dogs", layers=2)
    code = uploads.keep([zipped(files(hf.parent))])
    found = sources.of_upload(code)
    assert [source.title.split(",")[0] for source in found] == ["cats", "dogs"]
    app = at("xray", adapter=found[1].code, beside=found[0].code)
    assert "How alike are the two?" in [head.value for head in app.header] and not app.error
    assert "Second: cats" in text(app)


def test_a_layer_has_its_number_where_others_were_left_out(at, tmp_path, store):
    for name, only in (("late", [10]), ("early", [1]), ("some", [1, 10])):
        hf_adapter(tmp_path / "several" / name, only=only)
    found = {s.title.split(",")[0]: s for s in sources.of_upload(uploads.keep([zipped(files(tmp_path / "several"))]))}
    late = sources.read(sources.Wish.of(found["late"], 2, None))
    assert len(late.layers) == 11 and late.scores.values.shape[0] == 11 and {u.layer for u in late.updates} == {10}
    app = at("xray", adapter=found["late"].code, beside=found["early"].code, heads=2)
    assert "layer 11 moved most" in str(figures(app)).replace("<br>", " ")
    assert "Their heads do not match" in text(app) and "cannot be compared" in text(app) and not app.exception
    app = at("xray", adapter=found["late"].code, beside=found["some"].code, heads=2)
    assert "Their heads do not match" not in text(app) and not app.exception and not app.error


def test_folders_of_one_name_are_two_adapters(hf):
    hf_adapter(hf.parent / "dogs", layers=2)
    parts = [*files(hf, "a/best/"), *files(hf.parent / "dogs", "b/best/")]
    assert [path.name for path in uploads.adapters(uploads.found(uploads.keep([zipped(parts)])))] == [
        "a-best",
        "b-best",
    ]


@pytest.mark.parametrize("prefix", ["", "best/"])
def test_of_several_zips_each_is_an_adapter_with_its_name(hf, prefix):
    """Whose files have the same names, and no folder or the same one."""
    hf_adapter(hf.parent / "dogs", layers=2)
    zips = [File(f"{name}.zip", zipped(files(hf.parent / name, prefix)).data) for name in ("cats", "dogs")]
    found = uploads.adapters(uploads.found(uploads.keep(zips)))
    assert [path.name for path in found] == [f"{name}{prefix and '-best'}" for name in ("cats", "dogs")]
    weights = [(path / "adapter_model.safetensors").read_bytes() for path in found]
    assert weights == [(hf.parent / name / "adapter_model.safetensors").read_bytes() for name in ("cats", "dogs")]
    with pytest.raises(errors.BadAdapter, match=r"two files called cats/.*; drop them one after the other"):
        uploads.keep([zips[0], zips[0]])
    with pytest.raises(errors.BadAdapter, match="two files called a.safetensors"):
        uploads.keep([File("a.safetensors", b"1"), File("a.safetensors", b"2")])


def test_weights_without_their_configuration_are_a_sentence(at, hf):
    [weights] = [file for file in files(hf) if file.name.endswith(".safetensors")]
    app = at("xray", adapter=f"kept-{uploads.keep([weights])}-0")
    assert "holds no adapter\\_config.json" in app.error[0].value


def test_what_somebody_dropped_is_not_what_others_see_first(at, hf):
    uploads.keep(files(hf))
    assert "LoRA, written by Headroom" in text(at("xray"))


def test_two_adapters_of_one_shape_are_compared(at, hf):
    hf_adapter(hf.parent / "dogs", seed=9)
    one, two = sources.of_upload(uploads.keep([zipped(files(hf.parent))]))
    shown = text(at("xray", adapter=one.code, beside=two.code, directions=2))
    assert "Difference of the energies" in shown and "the first 2 singular directions" in shown


def test_an_adapter_beside_one_of_another_shape_says_what_cannot_be_compared(at, hf):
    code = uploads.keep(files(hf))
    shown = text(at("xray", adapter="lora-digits", beside=f"kept-{code}-0"))
    assert "do not match one to one" in shown


def test_runs_of_this_machine_can_be_looked_at(at, trained):
    assert "LoRA, written by Headroom" in text(at("xray", adapter=trained["lora"]))
    offered = [source.code for source in sources.offered()]
    assert str(trained["lora"]) in offered and str(trained["last"]) not in offered and "lora-digits" in offered


@pytest.mark.parametrize(
    "name, words",
    [("model.pt", "is a pickle.*save_file"), ("a.txt", "is not a file of an adapter"), ("a.json", "no weights")],
)
def test_other_files_are_refused_by_name(store, name, words):
    with pytest.raises(errors.BadAdapter, match=words):
        uploads.keep([File(name, b"{}")])
    assert uploads.codes() == []


def test_a_pickled_bin_is_refused_with_the_way_to_convert_it(at, store):
    blob = io.BytesIO()
    torch.save({"a": torch.ones(2)}, blob)
    code = uploads.keep([File("weights.bin", blob.getvalue())])
    app = at("xray", adapter=f"kept-{code}-0")
    [error] = app.error
    assert "is a pickle" in error.value and "save\\_file" in error.value and str(uploads.folder()) not in error.value
    assert not app.number_input  # no setting opens it


def test_a_file_of_another_size_is_a_sentence(at, petl):
    app = at("xray", adapter=f"kept-{uploads.keep([petl])}-0")
    [error] = app.error
    assert "does not hold a Bi-LoRA adapter of 1 bit and rank 4 for 12 blocks of width 768" in error.value


def test_dora_is_refused_by_name(at, hf):
    config = json.loads((hf / "adapter_config.json").read_text())
    (hf / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    app = at("xray", adapter=f"kept-{uploads.keep(files(hf))}-0")
    assert "not a plain LoRA (use\\_dora = True)" in app.error[0].value


@pytest.mark.parametrize(
    "wrong", [{"adapter": "kept-0000000000000000-0"}, {"adapter": "999"}, {"heads": "x"}, {"beside": "?"}]
)
def test_a_link_that_names_what_is_not_there_shows_what_is(at, wrong):
    app = at("xray", **wrong)
    assert "written by" in text(app) and not app.exception
    said = [one.value for one in app.warning if "no adapter" in one.value]
    assert len(said) == ("heads" not in wrong), "which adapter is shown instead is seen, that it is another is said"


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_whose_contents_are_damaged_is_a_sentence(store, packing):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        archive.writestr("a.safetensors", bytes(range(256)) * 40)
    data = bytearray(stream.getvalue())
    data[60:80] = bytes(255 - value for value in data[60:80])
    with pytest.raises(errors.BadAdapter, match="not a zip that can be read"):
        uploads.keep([File("a.zip", bytes(data))])


def test_names_in_capitals_are_those_in_small_letters(at, hf):
    code = uploads.keep([File(file.name.upper(), file.data) for file in files(hf)])
    assert "written by Hugging Face PEFT" in text(at("xray", adapter=f"kept-{code}-0"))
    alone = uploads.keep([File("weights.BIN", b"x")])
    assert [path.name for path in uploads.adapters(uploads.found(alone))] == ["weights.bin"]


def test_why_there_is_no_grid_tells_no_path_of_this_machine(hf):
    [source] = sources.of_upload(uploads.keep(files(hf)))
    found = sources.read(sources.Wish.of(source, 7, None))
    assert found.no_scores and str(uploads.folder()) not in found.no_scores


def test_broken_and_huge_zips_are_sentences(store, monkeypatch):
    with pytest.raises(errors.BadAdapter, match="cannot be opened: The zip is truncated"):
        uploads.keep([File("a.zip", b"PK\x03\x04 no")])
    with pytest.raises(errors.BadAdapter, match="there is no adapter in it"):
        uploads.keep([zipped([File("readme.md", b"x")])])
    monkeypatch.setattr(uploads, "MOST_BYTES", 1000)
    with pytest.raises(errors.BadAdapter, match="unpacks to more than"):
        uploads.keep([zipped([File("a.safetensors", b"\0" * 5000)])])
    monkeypatch.setattr(uploads, "MOST_FILES", 2)
    with pytest.raises(errors.BadAdapter, match="holds more than 2 files"):
        uploads.keep([zipped([File(f"{n}.bin", b"x") for n in range(3)])])


def test_only_the_newest_uploads_stay(store, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_KEPT", 2)
    for n in range(4):
        uploads.keep([File("a.safetensors", bytes([n]))])
    assert len(uploads.codes()) == 2


def bombs(count: int, size: int) -> list[File]:
    packed = zipped([File("adapter_model.safetensors", bytes(size))])
    return [File(f"{number}.zip", packed.data) for number in range(count)]


def test_zips_that_unpack_to_too_much_are_read_no_further_than_one_budget_and_held_nowhere(store, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_BYTES", 8_000_000)
    given, read = bombs(6, 6_000_000), 0
    real = zipfile.ZipExtFile.read

    def counted(self, count=-1):
        nonlocal read
        data = real(self, count)
        read += len(data)
        return data

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    tracemalloc.start()
    with pytest.raises(errors.BadAdapter, match="unpacks to more than 8 MB"):
        uploads.keep(given)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read < 9_000_000 and peak < 4_000_000
    assert not [*uploads.folder().iterdir()]


def many_entries(count: int) -> bytes:
    """A zip whose directory lists so many, as its end says."""
    entry = struct.pack("<4s4B4HL2L5H2L", b"PK\1\2", 20, 0, 20, 0, *[0] * 4, 0, 0, 0, 1, *[0] * 4, 0, 0) + b"x"
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count & 0xFFFF, count & 0xFFFF, len(entry) * count, 0, 0)
    return entry * count + end


@pytest.mark.parametrize("count", [60_000, 65_536 + 5])
def test_a_zip_that_lists_absurdly_many_files_is_refused_before_they_are_read(store, monkeypatch, count):
    monkeypatch.setattr(zipfile, "ZipInfo", lambda *args: pytest.fail("an object was made of an entry"))
    with pytest.raises(errors.BadAdapter, match="more than 10,000 files|list of files takes"):
        uploads.keep([File("a.zip", many_entries(count))])
    with pytest.raises(errors.BadData, match="more than 10,000 files|list of files takes"):
        dropped.of_file("a.zip", many_entries(count))


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_packed_so_that_its_memory_has_no_bound_is_a_sentence(store, packing):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        archive.writestr("adapter.json", bytes(10_000_000))
    with pytest.raises(errors.BadAdapter, match="pack it as deflate"):
        uploads.keep([File("a.zip", stream.getvalue())])
    with pytest.raises(errors.BadData, match="pack it as deflate"):
        dropped.of_file("a.zip", stream.getvalue())


def test_an_adapter_is_read_beside_the_app_and_its_factors_stay_there(at, hf, monkeypatch):
    hf_adapter(hf.parent / "dogs", seed=9)
    asked = []
    real = background.apart
    monkeypatch.setattr(
        background, "apart", lambda key, function, *args: asked.append((function, args)) or real(key, function, *args)
    )
    one, two = sources.of_upload(uploads.keep([zipped(files(hf.parent))]))
    at("xray", adapter=one.code, beside=two.code)
    calls = [(function, args) for function, args in asked if function.__module__ == "app.xray.sources"]
    assert [function.__name__ for function, _ in calls] == ["_measured", "_measured", "_compared"]
    for function, args in calls:
        assert len(pickle.dumps((function, args))) < 1000 and len(pickle.dumps(function(*args))) < 20_000


def test_what_took_too_long_beside_the_app_is_a_sentence(at, hf, monkeypatch):
    monkeypatch.setattr(background, "apart", lambda *_: background.settled(OverLimit("This took more than 60 s.")))
    assert "more than 60 s" in at("xray").error[0].value


# In a room


def test_a_list_has_what_one_may_see_and_a_link_opens_what_it_names(at, as_, room, hf):
    ana = as_("Ana")
    [weights, config] = [file.data for file in sorted(files(hf), key=lambda file: not file.name.endswith("rs"))]
    given = [File("secret/adapter_model.safetensors", weights), File("secret/adapter_config.json", config)]
    code = uploads.keep(given, ana.id)

    def listed() -> bool:
        return "secret" in "".join(at("xray").selectbox(key="xray_adapter").options)

    assert listed()
    as_("Bert")
    assert listed(), "everybody looks at everything"
    for looking in ("own", "teacher"):
        room.set(looking=looking)
        as_("Bert")
        assert not listed()
        assert "written by Hugging Face PEFT" in text(at("xray", adapter=f"kept-{code}-0"))
        as_("Ana")
        assert listed()
    as_("Teacher")
    assert listed()


def test_nobodys_drop_deletes_anothers(store, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_KEPT", 2)
    anas = uploads.keep([File("a.safetensors", b"ana")], "a1")
    berts = [uploads.keep([File("a.safetensors", bytes([n]))], "b2") for n in range(4)]
    uploads.keep([File("a.safetensors", b"ana")], "b2")
    kept = [(each.owner, each.code) for each in uploads.kept()]
    assert ("a1", anas) in kept and sorted(kept) == sorted([("a1", anas), ("b2", berts[-1]), ("b2", anas)])


def test_what_one_person_dropped_takes_no_more_than_their_share(store, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_BYTES", 1000)
    for owner in ("a1", "b2", ""):
        for n in range(4):
            uploads.keep([File("a.safetensors", bytes([n]) * 400)], owner)
    assert Counter(each.owner for each in uploads.kept()) == {"a1": 2, "b2": 2, "": 4}


def test_heads_that_were_said_of_another_adapter_count_only_where_a_file_lacks_them(tmp_path):
    model = pc.attach(pc.load_backbone("vit_micro"), "lora", 3)
    own = pc.save_adapter(tmp_path / "own", model)
    theirs = pc.export_peft(model, tmp_path / "theirs")
    assert sources.Wish.of(sources.Source("kept-a-0", "own", own), 6, None).heads is None
    assert sources.Wish.of(sources.Source("kept-b-0", "theirs", theirs), 6, None).heads == 6


def test_an_adapter_that_changed_nothing_did_not_change_most(at, store, recorded):
    from peftcore.adapters import to_bytes

    spec, told, artifacts, summary = recorded["lora"]
    run = store.create_run(spec)
    store.set_status(run, "running")
    untrained = to_bytes(pc.attach(pc.load_backbone("vit_micro", pretrained=False), "lora", 10), pc.RunSpec.of(spec))
    store.append(run, told, artifacts | {"adapter": untrained})
    store.set_status(run, "finished", summary=summary)
    page = at("xray", adapter=str(run))
    said = " ".join(info.value for info in page.info)
    assert "every update is zero" in said and "changed most" not in str(page._tree)
