"""What a blueprint makes of a padding mask, if it declares that it takes one."""

import torch
from torch import Tensor, nn

from esper_core.leyline.specs import BlueprintSpec, Capability
from esper_testing.blueprint_checks import expect_same, expect_update
from esper_testing.blueprint_subject import BlueprintSubject, update
from esper_testing.check import Check, CheckLevel, check, collect


@check("blueprint-padding-mask", BlueprintSpec.kind, CheckLevel.CONTRACT)
def padding_mask(subject: BlueprintSubject) -> None:
    """What stands in padding changes nothing at real positions, and a mask that hides nothing changes nothing at all.

    Asked of blueprints that declare `Capability.PADDING_MASK`, with padding behind, in front and everywhere.
    """
    if Capability.PADDING_MASK not in subject.spec.capabilities:
        return
    for site in subject.sites:
        module, h = subject.awake(site).eval(), subject.activation(site)
        nothing_hidden = torch.ones(h.shape[:2], dtype=torch.bool, device=h.device)
        expect_same(
            _update(module, h, nothing_hidden),
            update(module, h),
            f"{site.id}: with a mask that hides nothing the update is another one than without a mask",
            cause="False taken for a real position",
            fix="read the mask as True where a position is real",
        )
        mask = nothing_hidden.clone()
        mask[0, -2:], mask[1, :2], mask[2] = False, False, False
        other = torch.where(mask.unsqueeze(-1), h, 10 * subject.activation(site, seed=1))
        before, after = _update(module, h, mask), _update(module, other, mask)
        expect_update(after, h, f"{site.id}: with a sample of nothing but padding")
        expect_same(
            after[mask],
            before[mask],
            f"{site.id}: real positions notice what stands in padding",
            cause="attention to keys that are padding, or a mean over all positions",
            fix="leave out positions at which the mask is False, as keys and in every sum over positions",
        )


def _update(module: nn.Module, h: Tensor, mask: Tensor) -> Tensor:
    with torch.no_grad():
        delta: Tensor = module(h, mask)
    return delta


#: The checks of this module in order.
MASK_CHECKS: tuple[Check, ...] = collect(globals())
