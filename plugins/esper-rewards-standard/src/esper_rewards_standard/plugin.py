"""What this distribution offers."""

from collections.abc import Iterable

from esper_core.hooks import hookimpl
from esper_core.specs import RewardTermSpec

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
    )
    yield RewardTermSpec(
        name="attribution",
        summary="What the seeds contribute, and no more than the network has gained over its twin.",
        factory="esper_rewards_standard.credit:Attribution",
        low=-1.0,
        high=1.0,
    )
    yield RewardTermSpec(
        name="rent",
        summary="The running cost of what has grown: its share of the host's own compute.",
        factory="esper_rewards_standard.costs:Rent",
        config="esper_rewards_standard.config:RentConfig",
        low=-4.0,
        high=0.0,
    )
    yield RewardTermSpec(
        name="intervention",
        summary="A small price for each thing that the policy asks for.",
        factory="esper_rewards_standard.costs:Intervention",
        config="esper_rewards_standard.config:InterventionConfig",
        low=-1.0,
        high=0.0,
    )
    yield RewardTermSpec(
        name="automatic",
        summary="The price of what others had to do: automatic culls, and a host that was stopped.",
        factory="esper_rewards_standard.costs:Automatic",
        config="esper_rewards_standard.config:AutomaticConfig",
        low=-2.0,
        high=0.0,
    )
    yield RewardTermSpec(
        name="germination",
        summary="The later a seed is germinated, the less time it has: minus the share of the round that is over.",
        factory="esper_rewards_standard.shaping:Germination",
        low=-1.0,
        high=0.0,
    )
    yield RewardTermSpec(
        name="fossilization",
        summary="For keeping what contributes, against keeping what does not.",
        factory="esper_rewards_standard.shaping:Fossilization",
        config="esper_rewards_standard.config:FossilizationConfig",
        low=-1.0,
        high=1.0,
    )
    yield RewardTermSpec(
        name="cull",
        summary="For removing what surely does harm, against removing what surely helps.",
        factory="esper_rewards_standard.shaping:Cull",
        low=-1.0,
        high=1.0,
    )
    yield RewardTermSpec(
        name="early-cull",
        summary="Against removing seeds before anything is known of them.",
        factory="esper_rewards_standard.shaping:EarlyCull",
        config="esper_rewards_standard.config:EarlyCullConfig",
        low=-1.0,
        high=0.0,
    )
    yield RewardTermSpec(
        name="warning",
        summary="Against letting a harmful seed blend on, or one that has passed its last gate wait.",
        factory="esper_rewards_standard.shaping:Warning",
        config="esper_rewards_standard.config:WarningConfig",
        low=-1.0,
        high=0.0,
    )
    yield RewardTermSpec(
        name="terminal",
        summary="The validation accuracy at the planned end, less what the network has grown by.",
        factory="esper_rewards_standard.endings:Terminal",
        config="esper_rewards_standard.config:TerminalConfig",
        low=-1.0,
        high=1.0,
    )
    yield RewardTermSpec(
        name="loss-gain",
        summary="By how much the loss fell more than the twin's, in units of random guessing's loss.",
        factory="esper_rewards_standard.endings:LossGain",
        low=-1.0,
        high=1.0,
    )
    yield RewardTermSpec(
        name="loss-terminal",
        summary="The loss at the planned end on a scale from random guessing's (0) to the twin's (1).",
        factory="esper_rewards_standard.endings:LossTerminal",
        low=-1.0,
        high=2.0,
    )
