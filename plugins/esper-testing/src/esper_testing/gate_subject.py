"""A gate under test: how it is built, and the evidence that it is asked about."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import field, frozen

from esper_core.leyline.evidence import SeedEvidence
from esper_core.leyline.protocols import Gate
from esper_core.leyline.specs import GateSpec
from esper_core.leyline.stages import TRANSITIONS, Stage
from esper_testing.samples import good_evidence, minimal_evidence, near_misses, seed_evidence
from esper_testing.subject import Subject
from esper_testing.usage import Usage

#: The stage of the seeds that a gate judges.
STAGE_BY_GATE = {level: source for (source, _), levels in TRANSITIONS.items() for level in levels}


@frozen(kw_only=True)
class GateSubject(Subject[GateSpec]):
    """What the gate checks look at.

    Attributes:
        good: evidence on which the gate passes.
        false_pass_limit: in what share of episodes a seed without effect may pass a G5.
    """

    good: SeedEvidence = field()
    false_pass_limit: float = 0.1

    @good.default
    def _default_good(self) -> SeedEvidence:
        return good_evidence(STAGE_BY_GATE[self.spec.level])

    def build(self) -> Gate:
        """Return a new gate."""
        gate: Gate = self.factory(self.config)
        return gate

    def build_any(self) -> None:
        """Build one gate."""
        self.build()

    @contextmanager
    def usage(self) -> Iterator[Usage]:
        """Judge evidence of all kinds."""
        gate, samples = self.build(), self.samples()[::5]

        def use() -> Any:
            return gate.consecutive_passes, [gate.evaluate(evidence) for evidence in samples]

        yield Usage(use=use, handed=samples)

    def fingerprint(self) -> Any:
        """Return its verdicts, also on evidence that lacks little or much of what the gate asks for."""
        gate, samples = self.build(), [*self.samples(), *near_misses(self.good)]
        return gate.consecutive_passes, [gate.evaluate(evidence) for evidence in samples]

    def samples(self) -> list[SeedEvidence]:
        """Evidence of all kinds, of seeds in every stage."""
        nothing = [minimal_evidence(stage) for stage in Stage]
        return [*nothing, self.good, *seed_evidence(300)]
