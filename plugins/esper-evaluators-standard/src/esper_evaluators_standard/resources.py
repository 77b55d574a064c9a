"""What a run may take: parameters, operations, time, memory."""

from esper_core.api import VitalSigns, Vote
from esper_evaluators_standard.config import ResourcesConfig
from esper_evaluators_standard.judging import OUTSIDE, Judged, vote


class Resources:
    """Compares what a host and its run take with limits; the run asks it."""

    def __init__(self, config: ResourcesConfig) -> None:
        self.config = config

    def evaluate(self, signs: VitalSigns) -> Vote:
        """Vote for caution above a limit: nothing that adds structure takes less."""
        if signs.run is None:
            return vote([OUTSIDE], signs)
        config, evidence, run = self.config, signs.evidence, signs.run
        added = evidence.parameters - evidence.host_parameters
        ratio = added / evidence.host_parameters if evidence.host_parameters else None
        seconds = evidence.train.seconds + evidence.validation.seconds
        judged = [
            Judged("growth of parameters over the host's own", ratio, config.growth_ratio),
            Judged("number of operations of a forward pass", evidence.forward_flops, config.forward_flops),
            Judged("number of operations of the host so far", evidence.compute.total, config.total_flops),
            Judged("time of an epoch in seconds", seconds, config.epoch_seconds),
            Judged("share of memory in use", run.get("memory share"), config.memory_share),
            Judged("share of processors in use", run.get("processor share"), config.processor_share),
        ]
        if (device := run.get("device memory share")) is not None:  # not every device has memory of its own
            judged.append(Judged("share of the device's memory in use", device, config.memory_share))
        return vote((it.objection for it in judged), signs, config.stop_after_epochs)
