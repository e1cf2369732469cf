"""The pictures of the Attribution page: maps before and after tuning, and the classifier layer by layer."""

from __future__ import annotations

import io
from collections.abc import Hashable
from concurrent.futures import Future
from typing import Any

import numpy as np
import streamlit as st

from app import background, cached, captions, errors, links, screen, subjects, theme, words
from app.attribution import maps
from app.attribution.choice import BY, PREDICTED, TRUE, Chosen
from app.desk import Job
from app.drawn import plan
from app.heads import image_choice
from app.heads.measuring import Stopped
from peftcore.errors import NotMeasurable
from peftcore.figures import attribution as figures
from peftcore.figures import lens as figures_of_patches
from peftcore.figures.words import MINUS, percent, plain

SIDE = 335  # pixels: three pictures in a row of a page 1280 wide


def sentence(said: maps.Said, classes: list[str], true: int | None) -> None:
    """What the model says of the image, before tuning and after."""
    verdict = "" if true is None else f", which is {'right' if said.tuned.argmax() == true else 'wrong'}"
    after = f"**After tuning: {_sure(said.tuned, classes)}**{verdict}."
    before = "" if said.before is None else f" Before, with the same classifier: {_sure(said.before, classes)}."
    st.markdown(after + before)


def _sure(probabilities: np.ndarray, classes: list[str]) -> str:
    best = int(probabilities.argmax())
    return f"{errors.plain(classes[best])}, {percent(float(probabilities[best]))}"


def draw(run: subjects.Run, image: int | str, target: int, chosen: Chosen, classes: list[str]) -> None:
    """The image, and the maps over it before and after tuning, on one scale."""
    with st.container(key="wrap_attribution"):
        columns = st.columns(3, gap="small")
    shown = cached.test_image(run, image)
    with columns[0]:
        title, _, note = cached.image_title(run, image).partition(", ")
        note = plain(note or "as the model reads it")  # one line, as the maps have
        figure = plan(figures.explained_image, shown, title=title, note=note, **screen.fit(SIDE), dark=theme.is_dark())
        theme.show(figure, "attribution_image", spec=run.spec)  # marked as the maps are, to stand level
    keys = [maps.key_of(run, image, target, chosen.how, tuned) for tuned in (False, True)]
    jobs = [maps.explained(run, image, target, chosen.how, tuned) for tuned in (False, True)]
    found: list[maps.Explained | None] = []
    refused: list[str] = []
    for column, job, key, when in zip(columns[1:], jobs, keys, ("before", "after"), strict=True):
        with column:
            try:
                found.append(_followed(job, key, when, f"{BY[chosen.by].capitalize()}, {when} tuning"))
            except NotMeasurable as error:
                found.append(None)
                if str(error) in refused:  # of both
                    continue
                refused.append(str(error))
                errors.show(error)
                if chosen.layer > 1:
                    st.button(
                        f"Take layer {chosen.layer - 1}", key=f"attribution_earlier_{when}", on_click=links.write,
                        kwargs={"layer": chosen.layer - 1},
                    )  # fmt: skip
    there = [one for one in found if one is not None]
    if not there:
        return
    reach, signed = figures.reach_of(*(one.values for one in there)), chosen.by != "rollout"
    for column, one, when in zip(columns[1:], found, ("Before tuning", "After tuning"), strict=True):
        if one is not None:
            with column:
                _map(run, shown, one, when, reach, signed, chosen)
    _caption(run, image, target, chosen, classes, there[-1])


def _followed(job: Future, key: Hashable, when: str, what: str) -> maps.Explained | None:
    """The map, with progress and a stop until it is there; None where the reader stopped it."""
    place = st.empty()
    if isinstance(job, Job) and not job.done():
        with place.container():
            bar = st.empty()
            st.button("Stop", key=f"attribution_stop_{when}", icon=":material/stop:", on_click=maps.stop, args=(key,))
        background.wait(job, lambda: _progress(bar, job, what), place)
        place.empty()
    if isinstance(job.result(), Stopped):
        with place.container():
            st.info(f"Stopped: {what.lower()}.", icon=":material/stop:")
            st.button("Begin again", key=f"attribution_again_{when}", on_click=maps.again, args=(key,))
        return None
    return maps.result(job, place, what)


def _progress(bar: Any, job: Job, what: str) -> None:
    share = float(job.said[0]) if job.said else 0.0
    bar.progress(share, f"{what}: {100 * share:.0f} %" if share else f"{what}: waiting for its turn, then loading.")


def _map(
    run: subjects.Run, image: np.ndarray, one: maps.Explained, when: str, reach: float, signed: bool, chosen: Chosen
) -> None:
    note = {  # each has one, or the maps would not stand level with the image
        "integrated_gradients": f"sums to {one.values.sum():+.2f} of the logit, misses {one.delta or 0.0:+.2g}",
        "gradcam": f"tokens of layer {(one.layer or 0) + 1}",
        "occlusion": f"one patch is worth at most {one.values.max():+.2f} of the logit",
        "rollout": "through all layers",
    }[chosen.by].replace("-", MINUS)
    figure = plan(
        figures.attribution_map, image, one.values, title=when, note=note, reach=reach, signed=signed,
        **screen.fit(SIDE), dark=theme.is_dark(),
    )  # fmt: skip
    name = when.split()[0].lower()
    theme.show(figure, f"attribution_{name}", spec=run.spec, alt=f"{when}: {BY[chosen.by]} over the image")
    st.download_button(
        "PNG", lambda: _png(figures.overlaid(image, one.values, reach, signed)), file_name=f"attribution_{name}.png",
        mime="image/png", key=f"attribution_png_{name}", on_click="ignore", type="tertiary", icon=":material/image:",
    )  # fmt: skip


def _png(picture: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()


def _caption(
    run: subjects.Run, image: int | str, target: int, chosen: Chosen, classes: list[str], one: maps.Explained
) -> None:
    depth = len(cached.anatomy(run.subject).grids)
    how = {
        "integrated_gradients": f"Integrated gradients over {chosen.steps} steps from a grey image, summed over "
        "quarters of a patch; more steps miss less.",
        "occlusion": "How much the logit falls when a patch is covered in grey.",
        "rollout": "Attention rollout: where attention leads through all layers; it knows no class.",
        "gradcam": "Grad-CAM on a layer's tokens.",
    }[chosen.by]
    if one.layer is not None and chosen.layer == 0 and one.layer < depth - 1:
        how += (
            f" Of layer {depth}, the last, only the class token is read, so its patches get no gradient: "
            f"layer {one.layer + 1} is the last that counts."
        )
    colours = "Orange speaks for the class, blue against it" if chosen.by != "rollout" else "Bright is looked at"
    captions.caption(
        f"{run.caption}. {cached.image_title(run, image)}; the class explained is {classes[target]}. {how} {colours}; "
        "both maps share one scale. Before: the backbone with this run's classifier, its update off."
        + image_choice.size_note(run),
        _command(run, image, target, chosen),
    )


def _command(run: subjects.Run, image: int | str, target: int, chosen: Chosen) -> str | None:
    if isinstance(image, str):
        return None
    source = "FOLDER" if run.example else run.subject.id
    of = chosen.of if chosen.of in (PREDICTED, TRUE) else str(target)
    line = f"python -m peftcore attribute {source} --image {image} --by {chosen.by} --target {of}"
    if chosen.by == "integrated_gradients":
        line += f" --steps {chosen.steps}"
    if chosen.how["layer"] is not None:
        line += f" --layer {chosen.layer}"
    return _after_training(run, line)


def _after_training(run: subjects.Run, line: str) -> str:
    """A command on a run; of a recorded example, after the one that trains it into FOLDER."""
    return f"{words.command(run.spec)} --save FOLDER\n{line}" if run.example else line


def lens(run: subjects.Run, image: int | str, said: maps.Said, classes: list[str], true: int | None) -> None:
    """What the classifier would say after every layer, and of every patch where asked."""
    st.header("What would it say after each layer?", anchor="lens")
    key, wanted = "attribution_patches", links.read("patches") == "all"
    st.session_state[key] = wanted
    st.toggle(
        "For every patch", key=key, on_change=lambda: links.write(patches="all" if st.session_state[key] else None)
    )
    if wanted:
        _patches(run, image, int(said.tuned.argmax()) if true is None else true, classes, true is not None)
    figure = plan(figures.layer_lens, said.lens, classes, true=true, dark=theme.is_dark())
    theme.show(figure, "attribution_lens", spec=run.spec)
    source = "FOLDER" if run.example else run.subject.id
    command = f"python -m peftcore lens {source}" + ("" if isinstance(image, str) else f" --image {image}")
    side = ""
    if not cached.anatomy(run.subject).in_backbone:
        side = " A side network reads the frozen backbone: this is the classifier on what it starts from."
    captions.caption(
        f"{run.title}. {cached.image_title(run, image)}: the tokens after each layer through the backbone's last norm, "
        f"its pooling and the trained classifier, as if the backbone ended there; the likeliest classes.{side}",
        None if isinstance(image, str) else _after_training(run, command),
    )


def _patches(run: subjects.Run, image: int | str, target: int, classes: list[str], true: bool) -> None:
    found = maps.result(maps.patches(run, image), st.empty(), "Asking the classifier of every patch")
    figure = plan(
        figures_of_patches.patch_lens, found, classes, target=target, width=screen.fit(1120)["width"],
        dark=theme.is_dark(),
    )  # fmt: skip
    theme.show(figure, "attribution_patch_lens", spec=run.spec)
    known = cached.anatomy(run.subject)
    how = "as the class token does, on which alone the classifier was trained"
    if known.windowed:
        how = "after the frozen patch merging that lies between its stage and the last, whose grid all maps have"
    elif not known.prefix_tokens:
        how = "alone, though the classifier was trained on their mean"
    captions.caption(
        f"{run.title}. {cached.image_title(run, image)}: how likely {classes[target]}, the "
        f"{'true class' if true else 'predicted class'}, is to the classifier at each patch after each layer: each "
        f"patch passes the last norm and the classifier {how}.",
        f'{words.command(run.spec)} --save FOLDER\npython -c "import peftcore as pc; help(pc.layer_lens)"',
    )
