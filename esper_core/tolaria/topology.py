"""What has grown where, as plain data: what a network's files say beside its weights."""

from esper_core.kasmina.growth import Growth


def topology(growth: Growth) -> tuple[dict[str, object], ...]:
    """Return a row for each site, in order, with the seed that it holds."""
    rows: list[dict[str, object]] = []
    for site in growth.sites:
        life = growth.lives.get(site.id)
        seed = life if life is not None and life.stage.holds_module else None
        slot = growth.bed.slots.get(site.id)
        rows.append(
            {
                "slot": site.id,
                "path": site.path,
                "layout": site.layout.value,
                "width": site.width,
                "stage": growth.stage(site.id).name,
                "blueprint": seed.blueprint if seed is not None else None,
                "options": dict(growth.recipes[seed.blueprint].entry.options) if seed is not None else {},
                "blend": seed.blend.value if seed is not None else None,
                # How a planted seed acts, which its stage alone does not say.
                "regime": slot.regime.value if slot is not None else None,
                "alpha": slot.alpha.item() if slot is not None else None,
            }
        )
    return tuple(rows)
