"""The figures of a run in a list of runs."""

from esper_runs.formatting import MISSING, loss, percent, points
from esper_runs.run_list import RunSummary


def figures_in_words(run: RunSummary) -> tuple[str, str, str]:
    """Return the accuracies of the grown network and its twin with their difference; losses where there is none."""
    if run.accuracy is not None or run.loss is None:
        return percent(run.accuracy), percent(run.twin_accuracy), points(run.difference)
    difference = MISSING if run.loss_difference is None else f"{loss(run.loss_difference, signed=True)} nats"
    return loss(run.loss), loss(run.twin_loss), difference
