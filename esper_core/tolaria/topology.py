"""What has grown where, as plain data: what a network's files say beside its weights."""

from esper_core.kasmina.growth import Growth


def topology(growth: Growth) -> tuple[dict[str, object], ...]:
    """Return a row for each site, in order, with the seed that it holds."""
    rows: list[dict[str, object]] = []
    for site in growth.sites:
        seed = growth.seeds.get(site.id)
        seed = seed if seed is not None and seed.stage.holds_module else None
        slot = growth.slot_set.slots.get(site.id)
        rows.append(
            {
                "slot": site.id,
                "path": site.path,
                "layout": site.layout.value,
                "width": site.width,
                "stage": growth.stage(site.id).name,
                "blueprint": seed.blueprint if seed is not None else None,
                "options": dict(growth.seed_factories[seed.blueprint].entry.options) if seed is not None else {},
                "blend": seed.blend.value if seed is not None else None,
                # How a planted seed acts, which its stage alone does not say.
                "regime": slot.forward_mode.value if slot is not None else None,
                "alpha": slot.alpha.item() if slot is not None else None,
            }
        )
    return tuple(rows)
