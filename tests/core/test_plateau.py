"""When a run stands still, by the definition that the sentence says."""

import pytest

from peftcore.store.plateau import PATIENCE, plateau


def validations(accuracies, losses=None):
    losses = losses or [1.0] * len(accuracies)
    return [
        {"split": split, "epoch": epoch, "accuracy": accuracy, "loss": loss}
        for epoch, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), 1)
        for split in ("test", "val")
    ]


@pytest.mark.parametrize(
    "accuracies, losses, since",
    [
        ([], None, None),
        ([0.5] * PATIENCE, None, None),
        ([0.5] * (PATIENCE + 1), None, 1),
        ([0.5, 0.6, *[0.6] * PATIENCE], None, 2),
        ([0.5, *[0.4] * (PATIENCE - 1), 0.501], None, None),
        ([0.5, *[0.4] * PATIENCE, 0.501], None, None),
        ([0.5] * 7, [0.9**n for n in range(7)], None),
        ([0.5] * 7, [0.999**n for n in range(7)], 1),
        ([0.5, 0.6, *[0.5] * 6], [1.0, 0.9, *[2.0, 1.9, 1.8, 1.0, 0.9, 0.895]], 2),
        ([0.1] * 7, [float("nan")] * 7, 1),
    ],
)
def test_a_plateau_is_so_many_epochs_that_improve_on_nothing(accuracies, losses, since):
    found = plateau(validations(accuracies, losses))
    assert (found and found.since) == since
    if found:
        assert found.since + found.epochs == len(accuracies) and found.accuracy == max(accuracies)
        assert f"in the {found.epochs} epochs after it" in found.sentence


def test_the_test_images_say_nothing():
    events = validations([0.5] * 8)
    assert plateau([event for event in events if event["split"] == "test"]) is None
