"""The user's network as one of several processes trains it: it measures a share, and all judge on the same evidence."""

from collections.abc import Callable

from esper_core.leyline.diagnostics import Finding, NetworkView
from esper_core.leyline.errors import EsperError
from esper_core.leyline.evidence import EpochMetrics, Evidence
from esper_core.tolaria.grower import Grower
from esper_distributed.merging import merged, merged_metrics
from esper_distributed.ranks import Ranks
from esper_distributed.reducing import GradientReducer, SharedGradients
from esper_distributed.topology import compare
from esper_growing.measuring.sample_accuracy import Metric
from esper_growing.measuring.sample_loss import Loss
from esper_growing.measuring.user_data import Batches
from esper_growing.measuring.user_host import UserHost


class DistributedHost(UserHost):
    """A growing host that is the same in all processes.

    Args:
        ranks: the processes.
        reducer: reduces their gradients.
        gradients: keeps those of seeds.
        grower, epochs, look: as of a `UserHost`.

    Attributes:
        transaction: how many topology transactions have been carried out.
    """

    def __init__(
        self,
        ranks: Ranks,
        reducer: GradientReducer,
        gradients: SharedGradients,
        grower: Grower,
        epochs: int,
        look: Callable[[NetworkView], tuple[Finding, ...]],
    ) -> None:
        super().__init__(grower, epochs, look)
        self.transaction = 0
        self._ranks = ranks
        self._reducer = reducer
        self._gradients = gradients

    def begin_epoch(self) -> None:
        """Let time pass, and see that the network is the same in all processes. Raises EsperError E651 if it is not."""
        super().begin_epoch()
        self.transaction += 1
        self.go_on()

    def go_on(self) -> None:
        """Compare topologies, and reduce the gradients of what there is now. Raises EsperError E651, E652, E653."""
        compare(self._ranks, self.grower, self.transaction, when=f"the beginning of epoch {self.grower.epoch + 1}")
        slot_set = self.grower.growth.slot_set
        seeds = [p for slot in slot_set.slots for p in slot_set.seed_parameters(slot)]
        self._reducer.begin([*slot_set.host_parameters, *seeds], seeds, self._gradients)

    def measure(
        self,
        validation: Batches | None,
        loss: Loss | None,
        metric: Metric | None,
        *,
        train_loss: float | None,
        train_accuracy: float | None,
    ) -> None:
        """Measure this process's share of the validation data, and join the evidence of all.

        Raises:
            EsperError: E302 for data that cannot be measured on, E651 where the network is not the same in all
                processes any more, E652 where another process cannot measure or does not come.
        """
        self._reducer.stop()
        when = f"the end of epoch {self.grower.epoch + 1}"
        compare(self._ranks, self.grower, self.transaction, when=when)
        # Running statistics are each process's own, as with DistributedDataParallel; one network is judged.
        buffers = self.grower.growth.slot_set.model.buffers()
        self._ranks.share([buffer for buffer in buffers if buffer.is_floating_point()])

        measure = super().measure

        def measured() -> tuple[Evidence, dict[str, str]]:
            measure(validation, loss, metric, train_loss=train_loss, train_accuracy=train_accuracy)
            assert self._evidence is not None
            return self._evidence, self.grower.growth.slot_set.failures()

        found = self._ranks.exchange(f"measuring at {when}", measured)
        if len({evidence.validation.samples == 0 for evidence, _ in found}) > 1:
            why = "some processes were given validation data and others were not"
            raise EsperError("E302", "nothing can be measured on the validation data", why=why, fix="give each a share")
        self._evidence = merged([evidence for evidence, _ in found])
        # A seed that has failed in one process has failed.
        slots = self.grower.growth.slot_set.slots
        for rank, (_, failures) in reversed([*enumerate(found)]):
            for slot, why in failures.items():
                slots[slot].failure = f"in rank {rank}: {why}"

    def test(self, batches: Batches, loss: Loss, metric: Metric | None) -> None:
        """Measure this process's share of the test split, and join the metrics of all. Raises EsperError E302, E652."""
        measured = super().test

        def figures() -> EpochMetrics:
            measured(batches, loss, metric)
            return self._test

        found = self._ranks.exchange("measuring the test split", figures)
        same = all(it.sample_losses == found[0].sample_losses for it in found)
        self._test = found[0] if same else merged_metrics(found)
