"""Laws of results and comparisons: sums, intervals, votes and tests, against NumPy and SciPy; runs without them."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest
from trainings import cut
from typer.testing import CliRunner

import peftcore as pc
from peftcore import errors
from peftcore.cli.commands import app
from peftcore.engine.worker import artifacts_of
from peftcore.store import Store
from peftcore.store.again import predict_again
from peftcore.store.comparison import comparison, mcnemar, unlike
from peftcore.store.results import ARTIFACT, Results, of_arrays, pack, results, unpack
from peftcore.tasks.drawn import digits

SPEC = pc.RunSpec(method={"name": "lora", "rank": 2}, epochs=1, lr=0.01)


def made(seed: int = 0, n: int = 200, classes: int = 5, skill: float = 2.0, run: int | None = None) -> Results:
    rng = np.random.default_rng(seed)
    labels = np.random.default_rng(99).integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + skill * np.eye(classes)[labels]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return Results(p.astype(np.float32), p.argmax(1), labels, tuple("abcdefgh"[:classes]), "made", run)


@pytest.fixture(scope="module")
def few_digits():
    """The digits, some of each split: what these tests say holds for any number of images."""
    few = cut(digits._task(), 128, 32, 160)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(digits, "_task", lambda: few)
        yield


@pytest.fixture(scope="module")
def ended(few_digits):
    """A real run's events."""
    return list(pc.finetune(SPEC))


@pytest.fixture
def stored(ended, tmp_path, monkeypatch) -> tuple[Store, int]:
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path))
    store = Store(tmp_path)
    run = store.create_run(SPEC.to_dict())
    store.set_status(run, "running")
    store.append(run, [event.to_dict() for event in ended], artifacts_of(ended[-1]))
    store.set_status(run, "finished", summary={"test_accuracy": ended[-1].test_accuracy})
    return store, run


# One run


def test_confusion_and_classes_add_up():
    found = made()
    table = found.per_class
    assert found.confusion.sum() == len(found) == table["images"].sum() == table["predicted"].sum()
    np.testing.assert_array_equal(found.confusion.sum(1), np.bincount(found.labels, minlength=5))
    assert np.trace(found.confusion) == found.right.sum() == table["right"].sum()
    np.testing.assert_allclose(table["recall"], table["right"] / table["images"])
    np.testing.assert_allclose(table["precision"], table["right"] / table["predicted"])
    assert (table["low"] < table["recall"]).all() and (table["recall"] < table["high"]).all()
    for label, predicted in product(range(5), range(5)):
        assert len(found.cell(label, predicted)) == found.confusion[label, predicted]


def test_the_interval_is_scipys():
    found = made()
    expected = binomtest(int(found.right.sum()), len(found)).proportion_ci(method="wilson")
    assert found.interval == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_class_without_images_has_no_recall_and_json_has_no_nan():
    found = of_arrays(
        {"probabilities": np.eye(3)[[0, 1]], "predicted": [0, 1], "labels": [0, 0], "classes": "abc"}, "t"
    )
    assert np.isnan(found.per_class["recall"][2]) and np.isnan(found.per_class["precision"][2])
    text = json.dumps(found.to_dict(), allow_nan=False)
    assert json.loads(text)["classes"][2]["recall"] is None


def test_calibration_of_a_run_that_knows_itself_is_near_zero():
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 40_000)
    labels = (rng.uniform(size=len(sure)) > sure).astype(int)
    known = Results(np.stack([sure, 1 - sure], 1), np.zeros(len(sure), int), labels, ("a", "b"), "made")
    bins = known.calibration()
    assert bins.ece < 0.01 and bins.images.sum() == len(sure) and not bins.images[:5].any()
    boastful = Results(np.eye(2)[np.zeros(len(sure), int)], known.predicted, labels, ("a", "b"), "made")
    assert boastful.calibration().ece == pytest.approx(1 - boastful.accuracy)


def test_extremes_are_ordered():
    found = made()
    best, worst, unsure = (found.extreme(which) for which in ("best", "worst", "uncertain"))
    assert len(best) + len(worst) == len(unsure) == len(found)
    assert found.right[best].all() and not found.right[worst].any()
    assert (np.diff(found.confidence[best]) <= 0).all() and (np.diff(found.confidence[worst]) <= 0).all()
    assert (np.diff(found.margin[unsure]) >= 0).all()
    with pytest.raises(errors.UnknownName, match="best"):
        found.extreme("bst")


def test_what_is_kept_comes_back_small():
    found = made(n=797, classes=8)
    arrays = {"probabilities": found.probabilities, "predicted": found.predicted, "labels": found.labels}
    data = pack({**arrays, "classes": np.array(found.classes)})
    again = of_arrays(unpack(data), "made")
    assert len(data) < 797 * 8 * 2 + 3000
    np.testing.assert_array_equal(again.predicted, found.predicted)
    np.testing.assert_array_equal(again.labels, found.labels)
    np.testing.assert_allclose(again.probabilities, found.probabilities, atol=5e-4)
    assert again.classes == found.classes


def test_a_run_ends_with_predictions_that_have_its_accuracy(ended):
    last = ended[-1]
    found = of_arrays(last.predictions, "digits")
    assert last.predictions["probabilities"].dtype == np.float16
    assert found.accuracy == last.test_accuracy and found.probabilities.shape == (len(found), 10)
    np.testing.assert_allclose(found.probabilities.sum(1), 1, atol=5e-3)
    assert "predictions" not in last.to_dict() and pc.events.from_dict(last.to_dict()).predictions is None
    assert pc.results(pc.Result.of(SPEC, last, None)).accuracy == last.test_accuracy


def test_a_stored_run_and_predicting_again_agree(stored, ended):
    store, run = stored
    first = pc.results(run)
    assert (first.run, first.accuracy) == (run, ended[-1].test_accuracy)
    assert results(store.run(run), store).accuracy == first.accuracy
    store.delete_artifact(run, ARTIFACT)
    with pytest.raises(errors.NotMeasurable, match="earlier Headroom.*Predict again"):
        pc.results(run)
    counts = list(predict_again(store, run))
    assert counts[0][0] == 0 and counts[-1][0] == counts[-1][1] == len(first)
    np.testing.assert_array_equal(pc.results(run).predicted, first.predicted)
    np.testing.assert_allclose(pc.results(run).probabilities, first.probabilities, atol=2e-3)


def test_runs_without_predictions_say_why(stored):
    store, _ = stored
    failed = store.create_run(SPEC.to_dict())
    store.set_status(failed, "failed", error="Too warm.")
    with pytest.raises(errors.NotMeasurable, match=f"Run {failed} is failed"):
        results(failed, store)
    with pytest.raises(errors.NotMeasurable, match="no adapter"):
        list(predict_again(store, failed))
    with pytest.raises(errors.UnknownName, match="no run 999"):
        results(999, store)
    with pytest.raises(errors.NotMeasurable, match="number of a run"):
        results("12", store)


def test_predicting_again_needs_the_images(stored, ended):
    store, _ = stored
    gone = store.create_run(SPEC.replace(task="upload:gone").to_dict())
    store.append(gone, [], artifacts_of(ended[-1]))
    with pytest.raises(errors.HeadroomError, match="gone"):
        list(predict_again(store, gone))


# Several runs


@pytest.mark.parametrize("b, c", [(0, 0), (1, 0), (3, 9), (9, 3), (40, 40), (120, 90), (400, 520)])
def test_mcnemar_is_the_binomial_test(b, c):
    assert mcnemar(b, c) == pytest.approx(binomtest(b, b + c).pvalue if b + c else 1.0, rel=1e-9)


def test_pairs_count_every_image_and_disagreement_is_a_distance():
    found = comparison([made(seed) for seed in range(3)])
    d = found.disagreement
    np.testing.assert_array_equal(d, d.T)
    assert not np.diag(d).any()
    for i, j, k in product(range(3), repeat=3):
        assert d[i, j] <= d[i, k] + d[k, j] + 1e-12
    for i, j in ((0, 1), (1, 2)):
        pair = found.pair(i, j)
        assert pair["both"] + pair["only_first"] + pair["only_second"] + pair["neither"] == len(found.labels)
        right = found.runs[i].right.sum() - found.runs[j].right.sum()
        assert pair["only_first"] - pair["only_second"] == right and found.pair(j, i)["p"] == pair["p"]


def test_a_vote_follows_the_majority_and_ties_follow_the_probabilities():
    def one(*p):
        p = np.array(p, float)
        return Results(p, p.argmax(1), np.array([0, 1]), ("a", "b"), "made")

    two = one([0.6, 0.4], [0.1, 0.9]), one([0.3, 0.7], [0.2, 0.8])
    assert comparison(two).voted.tolist() == [1, 1]  # 0.45 against 0.55
    assert comparison([*two, one([0.51, 0.49], [0.9, 0.1])]).voted.tolist() == [0, 1]
    alone = made()
    assert comparison([alone, alone, made(1)]).vote == alone.accuracy
    assert comparison([alone, made(1)]).any_right >= max(alone.accuracy, made(1).accuracy)


def test_images_on_which_runs_part():
    found = comparison([made(seed) for seed in range(4)])
    right = found.right.sum(0)
    assert set(found.parted) == set(np.flatnonzero((right > 0) & (right < 4)))
    assert right[found.parted[0]] == 2
    json.dumps(found.to_dict(), allow_nan=False)


def test_what_cannot_be_compared_says_so():
    with pytest.raises(errors.InvalidSetting, match="at least two"):
        comparison([made()])
    with pytest.raises(errors.BadData, match="classes"):
        comparison([made(), made(classes=4)])
    other = made(run=7)
    shuffled = Results(other.probabilities, other.predicted, other.labels[::-1], other.classes, "made", 8)
    assert "different images" in unlike(other, shuffled)
    renamed = Results(other.probabilities, other.predicted, other.labels, other.classes, "cells", 9)
    assert "run 7 was tested on made, run 9 on cells" in unlike(other, renamed)
    one, more, same = (
        Results(other.probabilities, other.predicted, other.labels, other.classes, f"folder:cats{query}", 9)
        for query in ("?seed=0&fit=crop", "?seed=1", "")
    )
    assert "folder:cats?seed=1" in unlike(one, more) and not unlike(one, same), "labels stand in the same order"


# The command line


def test_commands_answer_json(stored, ended):
    store, run = stored
    other = store.create_run(SPEC.to_dict())
    store.append(other, [], artifacts_of(ended[-1]))
    run_command = CliRunner().invoke
    answer = json.loads(run_command(app, ["results", str(run), "--json"]).stdout)
    assert answer["accuracy"] == ended[-1].test_accuracy and len(answer["classes"]) == 10
    assert "Run" in run_command(app, ["results", str(run)]).stdout
    both = json.loads(run_command(app, ["compare", str(run), str(other), "--json"]).stdout)
    assert both["pairs"][0]["p"] == 1 and not both["parted"]
    assert isinstance(run_command(app, ["compare", str(run), str(run)]).exception, errors.InvalidSetting)
