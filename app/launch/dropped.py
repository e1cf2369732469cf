"""What a file, a link or a pasted text asks for: the address of the launch page that shows it. No torch.

Taken are a spec as JSON, what `python -m peftcore run --json`, `race --json` or `runs --json` printed, an adapter that
Headroom saved (its file, its folder's adapter.json, or the folder zipped), the adapter_config.json of Hugging Face
PEFT, and links of the launch page or of a run of this app.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, urlsplit

from app import forms, state, words
from app.launch import request, strangers
from app.runs import races
from peftcore.errors import BadData
from peftcore.figures.method_style import method_title
from peftcore.spec import RunSpec
from peftcore.store.variations import differences
from peftcore.uploads import zips
from peftcore.uploads.archives import DAMAGED

ABOUT, CONFIG = "adapter.json", "adapter_config.json"  # of Headroom's folders, and of Hugging Face PEFT's
MOST_BYTES = 2_000_000  # of a JSON file, or of the header of an adapter
MOST_ENTRIES = 10_000  # of a zip
TAKEN = (
    "a spec or a result of Headroom as JSON, an adapter that Headroom saved (.safetensors, or its folder zipped), or "
    "the adapter_config.json of a Hugging Face PEFT adapter"
)


@dataclass(frozen=True)
class Found:
    """query: names and texts of the launch page; title: what it is; rest: what of the form stays as it was."""

    query: dict[str, str | list[str]]
    title: str
    rest: tuple[str, ...] = ()


def of_file(name: str, data: bytes) -> Found:
    """What a file asks for; of a .safetensors file its header is enough.

    Raises:
        BadData: it is none of those that are taken, or damaged; and what makes a spec of it raises.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == ".zip" or data[:4] == b"PK\3\4":
        return _of_zip(name, data)
    if suffix == ".safetensors":
        return _of_adapter(name, _header(name, data))
    if len(data) > MOST_BYTES:
        raise BadData(f"{name} has {len(data) / 1e6:,.0f} MB; a spec is a small file. Drop {TAKEN}.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadData(f"{name} is not text. Drop {TAKEN}.") from None
    return _of_json(name, text)


def of_text(text: str, host: str = "") -> Found:
    """What a pasted link or JSON asks for. `host`: of this app; links to runs mean the runs of this one alone.

    Raises: as `of_file`; UnknownName: there is no such run.
    """
    text = text.strip()
    if text[:1] in ("{", "["):
        return _of_json("The text", text)
    try:
        parts = urlsplit(text)
    except ValueError:  # 'http://['
        raise BadData(f"{text[:80]!r} is no link that can be read.") from None
    query = parse_qs(parts.query, keep_blank_values=True)
    page = parts.path.rstrip("/").rpartition("/")[2]
    if not query:
        raise BadData(
            f"{text[:80]!r} is neither JSON nor a link with settings. 'Copy preset link' on this page makes one: it "
            "has a question mark, and the settings behind it."
        )
    if page == "runs" and (number := (query.get("run") or query.get("race") or [""])[-1]).isdecimal():
        if parts.netloc != host:
            raise BadData(
                f"This link is to run {number} of another Headroom, {parts.netloc or 'unknown'}, whose runs are not "
                "here. Drop the spec that its page offers, or its preset link."
            )
        kept = races.remembered(int(number)) if "race" in query else None
        return (
            _of_race(kept, f"Race {number}") if kept else _of_spec(state.store().run(int(number)).spec, f"Run {number}")
        )
    if page not in ("launch", ""):
        raise BadData(f"This is a link to the page {page!r}; a link to Launch, or to a run, says what to launch.")
    asked = request.opened(query)
    if known := [name for name in asked if strangers.is_setting(name)]:
        return Found({name: asked[name] for name in known}, "The link")
    raise BadData("No setting of Launch is in this link. 'Copy preset link' on this page makes one that has them.")


def _of_json(name: str, text: str) -> Found:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadData(f"{name} is not JSON that can be read: {error}. Drop {TAKEN}.") from None
    if isinstance(value, list) and value and all(_has_spec(one) for one in value):
        return _of_runs([one["spec"] for one in value], name)
    if isinstance(value, dict) and "peft_type" in value:
        return _of_peft(name, value)
    if isinstance(value, dict) and {"method", "backbone", "format"} <= value.keys():
        return _of_adapter(name, value)
    if _has_spec(value):
        return _of_race(value, name) if value.get("several") else _of_spec(value["spec"], name)
    if isinstance(value, dict) and RunSpec.model_fields.keys() & value.keys():
        return _of_spec(value, name)
    raise BadData(f"{name} holds JSON, but no spec. Drop {TAKEN}.")


def _has_spec(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("spec"), dict)


def _of_spec(spec: Mapping[str, Any], name: str) -> Found:
    valid = RunSpec.of(spec).to_dict()
    return Found(forms.preset(valid), f"{name}: {words.run_title(valid)}")


def _of_race(kept: Mapping[str, Any], name: str) -> Found:
    """From what `races.remember` kept."""
    spec = RunSpec.of(kept["spec"]).to_dict()
    query = request.to_query(spec, kept["several"], kept.get("rates"))
    return _checked(Found(query, f"{name}: a race on {words.task_title(spec['task'])}"))


def _of_runs(specs: Sequence[Mapping[str, Any]], name: str) -> Found:
    """One run, or a race, where the runs are all combinations of some values.

    Raises:
        BadData: they are not.
    """
    made = [RunSpec.of(spec) for spec in specs]
    if len({spec.key for spec in made}) == 1:
        return _of_spec(specs[0], name)
    several: dict[str, list[Any]] = {}
    for differs in differences([spec.to_dict() for spec in made]):
        for setting, value in differs.items():
            if value not in several.setdefault(setting, []):
                several[setting].append(value)
    rates = {spec.method.name: spec.lr for spec in made}
    if "method" in several and "lr" in several and all(rates[spec.method.name] == spec.lr for spec in made):
        del several["lr"]  # each method has its own
    else:
        rates = {}
    found = Found(
        request.to_query(made[0].to_dict(), several, rates), f"{name}: {words.race_title([s.to_dict() for s in made])}"
    )
    if {spec.key for spec in request.from_query(found.query).specs} != {spec.key for spec in made}:
        raise BadData(
            f"{name} holds {len(made)} different runs, which are not all combinations of some values, so they are no "
            "race that this form shows. Drop the spec of one of them."
        )
    return found


def _checked(found: Found) -> Found:
    """As it is, where the form can launch it. Raises what is wrong with it."""
    for fault in request.from_query(found.query).faults.values():
        raise fault
    return found


def _header(name: str, data: bytes) -> Mapping[str, Any]:
    """The description in the header of a .safetensors file."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 9 or size > MOST_BYTES or len(data) < 8 + size:
        raise BadData(f"{name} is not a whole .safetensors file: its header is missing or cut off.")
    try:
        header = json.loads(data[8 : 8 + size])
        about = header.get("__metadata__", {}).get("headroom")
    except (ValueError, AttributeError, RecursionError):
        raise BadData(f"{name} is not a .safetensors file that can be read.") from None
    if about is None:
        like_peft = any(".lora_" in key or key.startswith("base_model.") for key in header)
        more = (
            f"It looks like one of Hugging Face PEFT: drop the {CONFIG} beside it, or a zip of both."
            if like_peft
            else ""
        )
        raise BadData(f"{name} was not saved by Headroom and does not say how it was trained. {more}".strip())
    try:
        return json.loads(about)
    except (ValueError, TypeError, RecursionError):
        raise BadData(f"{name}: what Headroom wrote into its header is damaged.") from None


def _of_adapter(name: str, about: Mapping[str, Any]) -> Found:
    """From what Headroom writes beside the weights: the whole spec, or method and backbone alone."""
    if not isinstance(about, Mapping):
        raise BadData(f"{name}: what Headroom wrote of it is damaged.")
    if isinstance(about.get("spec"), Mapping):
        return _of_spec(about["spec"], name)
    try:
        method, backbone = about["method"], about["backbone"]["name"]
    except (KeyError, TypeError):
        raise BadData(f"{name} does not say which method and which backbone it is of.") from None
    return _partly(name, method, backbone)


def _of_peft(name: str, config: Mapping[str, Any]) -> Found:
    """A tuner of Hugging Face PEFT with its own settings, exactly as it was trained."""
    from peftcore.fetch.peft_folder import read_config

    about = read_config(dict(config), name)
    method = {"name": "hf_peft", "tuner": about["tuner"], "options": about["settings"]}
    return _partly(name, method, str(about["base"] or "").removeprefix("timm/"))


def _partly(name: str, method: Mapping[str, Any], backbone: str) -> Found:
    """Method and backbone, where the task and the recipe are not known."""
    spec = RunSpec(method=dict(method), **({"backbone": backbone} if backbone else {}))
    own = {key: text for key, text in forms.preset(spec.to_dict()).items() if "." in key or key == "method"}
    own |= {"backbone": backbone} if backbone else {}
    kept = ("task", *(field for field in RunSpec.model_fields if field not in ("task", "method", "backbone")))
    return Found(own, f"{name}: {method_title(spec.method.name)}", kept if backbone else ("backbone", *kept))


def _of_zip(name: str, data: bytes) -> Found:
    """From the one file of a zipped folder that says what it is."""
    try:
        with zips.opened(io.BytesIO(data), MOST_ENTRIES) as archive:
            inside = {info.filename: info for info in archive.infolist()}
            for wanted in (ABOUT, CONFIG):
                found = [path for path in inside if PurePosixPath(path).name == wanted]
                if len(found) > 1:
                    raise BadData(f"{name} holds {len(found)} adapters ({', '.join(found[:3])}); drop one of them.")
                if found:
                    zips.refuse(inside[found[0]], wanted)
                    with archive.open(found[0]) as stream:
                        text = stream.read(MOST_BYTES + 1)
                    return of_file(f"{name}, {PurePosixPath(found[0]).name}", text)
    except (*DAMAGED, RuntimeError, OSError) as error:
        raise BadData(f"{name} is not a zip that can be read: {error}.") from None
    raise BadData(f"{name} holds neither {ABOUT} nor {CONFIG}. Drop {TAKEN}.")
