"""What the governor's evaluators are shown of a host, and how they vote on it."""

from collections.abc import Mapping

from attrs import frozen

from esper_core.leyline.actions import GovernorMode
from esper_core.leyline.evidence import Evidence


@frozen(kw_only=True)
class VitalSigns:
    """How a host stands after an epoch, with all that is remembered of earlier epochs.

    Attributes:
        evidence: all that was measured in the epoch: metrics of both splits (of no samples where they were not
            measured), update ratios and gradients of each seed, parameters.
        first_loss: the first validation loss, in nats.
        best_loss: the lowest validation loss so far, this epoch's included, in nats.
        random_guess_loss: loss of a model that knows nothing, in nats; None where that is not known.
        objections: epochs in a row, up to the one before, in which this evaluator did not vote ``NORMAL``.
        recent_losses: validation losses, in nats, of the last 20 epochs before this one to which no evaluator objected,
            oldest first.
        watched: the epoch follows closely upon a structural change or a rollback, and the host may be rolled back: a
            little more strictness costs less than a change that should have been undone.
        run: what a run knows beside what its hosts measure, of its policy and of the machine, by name; what is not
            known is left out. None: it is the host's own governor that asks, which knows nothing of it. Evaluators with
            `Capability.JUDGES_RUN` are asked by the run.
    """

    evidence: Evidence
    first_loss: float
    best_loss: float
    random_guess_loss: float | None
    objections: int = 0
    recent_losses: tuple[float, ...] = ()
    watched: bool = False
    run: Mapping[str, float] | None = None


@frozen(kw_only=True)
class Vote:
    """One evaluator's opinion on a host.

    Attributes:
        mode: the mode that the host should be in: ``NORMAL`` allows it to change, ``CONSERVATIVE`` lets it train
            and adds no structure, ``STOPPED`` vetoes any further training of the network as it stands. The host is
            rolled back then, as long as its run allows that, and stopped otherwise.
        reason: why, in words; "" for ``NORMAL``.
    """

    mode: GovernorMode = GovernorMode.NORMAL
    reason: str = ""
