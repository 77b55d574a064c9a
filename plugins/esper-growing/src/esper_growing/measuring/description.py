"""What was found out about a user's network, in words."""

from esper_core.leyline.layouts import Layout
from esper_growing.measuring.user_host import UserHost


def described(host: UserHost) -> str:
    """Return what was found out about a network, its loss and its metric, in lines."""
    lines = [f"  {host.measured.how}"]
    if host.grower.forks.fixed_batch:
        lines.append("  it takes batches of one size only, and is measured in those")
    for site in host.grower.growth.sites:
        causal = ", causal" if site.causal else ", sees all positions" if site.layout is Layout.BTD else ""
        copied = ", written into by what follows" if site.inplace_successor else ""
        lines.append(
            f"  site {site.id}: {site.layout}, width {site.width}, {site.dtype or 'as the host'}{causal}{copied}"
        )
    return "\n".join(lines)
