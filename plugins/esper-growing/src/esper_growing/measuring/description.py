"""What was found out about a user's network, in words."""

from collections.abc import Iterable

from esper_core.leyline.layouts import Layout
from esper_core.leyline.sites import Site
from esper_growing.measuring.user_host import UserHost


def described(host: UserHost) -> str:
    """Return what was found out about a network, its loss and its metric, in lines."""
    lines = [host.measured.how]
    if host.grower.forks.fixed_batch:
        lines.append("it takes batches of one size only, and is measured in those")
    lines += [f"site {line}" for line in sites_in_words(host.grower.growth.sites)]
    return "\n".join(f"  {line}" for line in lines)


def sites_in_words(sites: Iterable[Site]) -> list[str]:
    """Return what each site was found to be."""
    return [
        f"{site.id}: {site.layout}, width {site.width}, {site.dtype or 'as the host'}"
        + (", causal" if site.causal else ", sees all positions" if site.layout is Layout.BTD else "")
        + (", written into by what follows" if site.inplace_successor else "")
        for site in sites
    ]
