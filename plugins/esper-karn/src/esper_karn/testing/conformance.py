"""What a dossier must be: it speaks of a blueprint that is installed, and fits its options."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from esper_core.leyline.specs import BlueprintSpec
from esper_core.plugins.installed import canonical
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.records import Registered
from esper_karn.bounds import misfits
from esper_karn.kinds import DossierSpec
from esper_testing.blueprint_subject import BlueprintSubject
from esper_testing.check import Check, CheckFailure, CheckLevel, NotApplicable, check, collect
from esper_testing.conformance import Conformance
from esper_testing.subject import Subject
from esper_testing.usage import Usage


@frozen(kw_only=True)
class DossierSubject(Subject[DossierSpec]):
    """What the checks of dossiers look at.

    Attributes:
        spec: the dossier.
        blueprints: those that are installed; None: they are looked for.
    """

    blueprints: tuple[Registered, ...] | None = None

    def blueprint(self) -> Registered:
        """Return the blueprint that the dossier speaks of.

        Raises:
            NotApplicable: if its distribution is not installed.
            CheckFailure: if the distribution has no such blueprint.
        """
        given = self.blueprints
        installed = [*load_plugins(tolerant=True).registry[BlueprintSpec.kind]] if given is None else given
        theirs = [it for it in installed if canonical(it.origin.provider) == canonical(self.spec.distribution)]
        if not theirs:
            raise NotApplicable(f"{self.spec.distribution} is not installed; install it for this check")
        if found := [it for it in theirs if it.spec.name == self.spec.blueprint]:
            return found[0]
        raise CheckFailure(
            f'there is no blueprint "{self.spec.blueprint}" of {self.spec.distribution}',
            cause="a wrong name, or that of another distribution's blueprint",
            fix="name both as `esper plugins list --kind blueprint` shows them",
        )

    def build_any(self) -> None:
        """Look at the dossier once."""
        self.factory(self.spec)

    @contextmanager
    def usage(self) -> Iterator[Usage]:
        """Look at the dossier."""

        def use() -> Any:
            it = self.factory(self.spec)
            return [it.blueprint, it.distribution, it.tier.title, it.risk, it.stage, sorted(it.tags), dict(it.bounds)]

        yield Usage(use=use, handed=[])


@check("dossier-blueprint", DossierSpec.kind, CheckLevel.CONTRACT)
def blueprint(subject: DossierSubject) -> None:
    """The blueprint that a dossier speaks of is installed and can be built: nothing in the catalogue is nominal."""
    spec = subject.blueprint().spec
    assert isinstance(spec, BlueprintSpec)
    if spec.unavailable is None:
        built = BlueprintSubject(spec=spec)
        for site in built.one_site_per_layout:
            built.build(site)


@check("dossier-bounds", DossierSpec.kind, CheckLevel.CONTRACT)
def bounds(subject: DossierSubject) -> None:
    """Bounds are of options that the blueprint has, of their type, with ends that it takes and its default between."""
    if wrong := [*misfits(subject.spec, subject.blueprint())]:
        raise CheckFailure(
            "; ".join(wrong),
            cause="an option that was renamed, or another type or range than in the blueprint's options class",
            fix="take names, types and ends from the options class; an integer's bounds are integers",
        )


#: The checks of this module in order.
DOSSIER_CHECKS: tuple[Check, ...] = collect(globals())

#: What components of the kind are checked with.
CONFORMANCE = Conformance(DossierSubject, DOSSIER_CHECKS)
