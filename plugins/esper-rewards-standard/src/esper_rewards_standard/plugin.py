"""What this distribution offers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from esper_core.hooks import hookimpl
from esper_core.specs import RewardTermSpec
from esper_rewards_standard.presets import PRESETS

ESPER_API = "2.0"


@hookimpl
def esper_reward_terms() -> Iterable[RewardTermSpec]:
    """Offer the terms."""
    yield RewardTermSpec(
        name="stage-potential",
        summary="How far seeds have come, as a potential: it leaves the optimal policy as it is.",
        factory="esper_rewards_standard.potential:StagePotential",
        config="esper_rewards_standard.config:StagePotentialConfig",
        low=-1.0,
        high=1.0,
        potential_based=True,
        presets=_presets("stage-potential"),
    )
    for name, low, high, factory, config, summary in _TERMS:
        yield RewardTermSpec(
            name=name,
            summary=summary,
            factory=f"esper_rewards_standard.{factory}",
            config=f"esper_rewards_standard.config:{config}" if config else None,
            low=low,
            high=high,
            presets=_presets(name),
        )


def _presets(term: str) -> Mapping[str, Mapping[str, Any]]:
    return {preset: terms[term] for preset, terms in PRESETS.items() if term in terms}


#: Name, bounds, factory, options and summary of the terms that are no potential.
_TERMS: Sequence[tuple[str, float, float, str, str, str]] = (
    (
        *("attribution", -1.0, 1.0, "credit:Attribution", ""),
        "What the seeds contribute, and no more than the network has gained over its twin.",
    ),
    (
        *("rent", -4.0, 0.0, "costs:Rent", "RentConfig"),
        "The running cost of what has grown: its share of the host's own compute.",
    ),
    (
        *("intervention", -1.0, 0.0, "costs:Intervention", "InterventionConfig"),
        "A small price for each thing that the policy asks for.",
    ),
    (
        *("automatic", -2.0, 0.0, "costs:Automatic", "AutomaticConfig"),
        "The price of what others had to do: automatic culls, and a host that was stopped.",
    ),
    (
        *("germination", -1.0, 0.0, "shaping:Germination", ""),
        "The later a seed is germinated, the less time it has: minus the share of the round that is over.",
    ),
    (
        *("fossilization", -1.0, 1.0, "shaping:Fossilization", "FossilizationConfig"),
        "For keeping what contributes, against keeping what does not.",
    ),
    (
        *("cull", -1.0, 0.0, "shaping:Cull", ""),
        "Against removing what surely helps.",
    ),
    (
        *("early-cull", -1.0, 0.0, "shaping:EarlyCull", "EarlyCullConfig"),
        "Against removing seeds before anything is known of them.",
    ),
    (
        *("warning", -1.0, 0.0, "shaping:Warning", "WarningConfig"),
        "Against letting a harmful seed blend on, or one that has passed its last gate wait.",
    ),
    (
        *("terminal", -1.0, 1.0, "endings:Terminal", "TerminalConfig"),
        "The validation accuracy at the planned end, less what the network has grown by.",
    ),
    (
        *("loss-gain", -1.0, 1.0, "endings:LossGain", ""),
        "By how much the loss fell more than the twin's, in units of random guessing's loss.",
    ),
    (
        *("loss-terminal", -1.0, 2.0, "endings:LossTerminal", ""),
        "The loss at the planned end on a scale from random guessing's (0) to the twin's (1).",
    ),
)
