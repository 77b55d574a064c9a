"""The figures of a run in a list of runs."""

from esper_runs.formatting import MISSING, loss, percent, points, whole
from esper_runs.run_list import RunSummary


def figures_in_words(run: RunSummary) -> tuple[str, str, str]:
    """Return the accuracies of the grown network and its twin with their difference; losses where there is none.

    Of several hosts they are means.
    """
    if run.accuracy is not None or run.loss is None:
        return percent(run.accuracy), percent(run.twin_accuracy), points(run.difference)
    difference = MISSING if run.loss_difference is None else f"{loss(run.loss_difference, signed=True)} nats"
    return loss(run.loss), loss(run.twin_loss), difference


def hosts_in_words(run: RunSummary) -> str:
    """Return how many hosts grow in a run; where its figures are not means over all of them, over how many they are."""
    if run.measured is None or run.hosts is None or run.measured in (0, run.hosts):
        return whole(run.hosts)
    return f"{whole(run.measured)} of {whole(run.hosts)}"


def means_in_words(run: RunSummary) -> str:
    """Return what the figures of a run of several hosts are; nothing for one host, or where there are no figures."""
    return f"mean of {hosts_in_words(run)} hosts" if (run.hosts or 0) > 1 and run.measured else ""
