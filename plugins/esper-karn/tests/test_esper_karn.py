"""The catalogue, what is kept, and what a run may use."""

import hashlib

import pytest
from attrs import evolve, field, frozen

from esper_core.leyline.errors import EsperError
from esper_core.plugins.kinds import KINDS
from esper_core.plugins.loader import load_plugins
from esper_core.plugins.records import Origin, Registered
from esper_core.plugins.registry import Registry
from esper_core.plugins.reviews import review_blueprints
from esper_core.specs import BlueprintSpec, Layout
from esper_karn.api import CatalogueEntry, DossierSpec, Keeper, Query, Tier, catalogue, choose, entry_of, find
from esper_karn.kinds import DOSSIER


@frozen(kw_only=True)
class Config:
    count: int = 3
    rate: float = field(default=0.5, converter=float)
    window: int | None = None


def blueprint(name="foo", distribution="esper-blueprint-foo", version="1.0", **more):
    spec = BlueprintSpec(name=name, summary="A seed.", factory="a:b", config=Config, layouts=(Layout.BD,), **more)
    return Registered(spec, Origin(plugin=distribution[6:], distribution=distribution, version=version, module="a"))


def dossier(name="foo", **more):
    given = {"distribution": "esper-blueprint-foo", "tier": Tier.SAFE, "risk": 0.2, "stage": 1} | more
    spec = DossierSpec(name=name, summary="Of a seed.", **given)
    return Registered(spec, Origin(plugin="dossiers", distribution="esper-dossiers", version="1.0", module="a"))


def registry(*components):
    return Registry.of_components(components, kinds=(*KINDS, DOSSIER))


def entry(*dossiers, **more):
    return CatalogueEntry(blueprint=blueprint(**more), dossiers=tuple(it.spec for it in dossiers))


class TestDossiers:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"risk": 1.5},
            {"risk": -0.1},
            {"stage": 7},
            {"stage": 1.0},
            {"tags": "gate"},
            {"tags": ("Two Words",)},
            {"bounds": {"count": (1, 2.0)}},
            {"bounds": {"count": (3, 1)}},
            {"bounds": {"count": (True, True)}},
            {"distribution": ""},
        ],
    )
    def test_what_cannot_be_is_refused(self, wrong):
        with pytest.raises((ValueError, TypeError)):
            dossier(**wrong)

    def test_of_several_the_strictest_word_holds(self):
        it = entry(
            dossier(bounds={"count": (1, 5)}, tags=("a",)),
            dossier("other", tier=Tier.HIGH_RISK, risk=0.9, stage=0, quarantined=True, bounds={"count": (3, 8)}),
        )
        assert (it.tier, it.risk, it.stage, it.quarantined) == (Tier.HIGH_RISK, 0.9, 1, True)
        assert it.bounds == {"count": (3, 5)}
        assert it.tags == {"a"}

    def test_without_any_it_is_experimental_and_nothing_is_made_up(self):
        it = entry()
        assert (it.tier, it.risk, it.stage, it.tags, it.needs_naming) == (Tier.EXPERIMENTAL, None, None, set(), True)

    @pytest.mark.parametrize(
        ("bounds", "said"),
        [
            ({"count": (1, 5), "rate": (0.0, 1.0), "window": (1, 9)}, None),
            ({"coumt": (1, 5)}, "count"),
            ({"count": (1.0, 5.0)}, "takes ints"),
            ({"rate": (0, 1)}, "takes floats"),
            ({"count": (4, 5)}, "by default"),
        ],
    )
    def test_bounds_are_compared_with_the_options_class(self, bounds, said):
        found = entry(dossier(bounds=bounds)).misfits()
        assert (said is None and not found) or said in found[0]


class TestCatalogue:
    def test_every_dossier_that_ships_has_a_blueprint_that_it_fits(self):
        loaded = load_plugins().registry
        entries = catalogue(loaded)
        ours = [it.spec for it in loaded["dossier"] if it.origin.distribution == "esper-karn"]
        recorded = {one.name: it for it in entries for one in it.dossiers}
        assert len(ours) == 30
        assert {it.name for it in ours} <= set(recorded)
        assert not {name: wrong for name, it in recorded.items() if (wrong := it.misfits())}

    def test_a_blueprint_of_another_distribution_is_another_one(self):
        found = catalogue(registry(blueprint(), blueprint(distribution="esper-blueprint-bar"), dossier()))
        assert [(it.id, len(it.dossiers)) for it in found] == [
            ("esper-blueprint-bar/foo", 0),
            ("esper-blueprint-foo/foo", 1),
        ]

    def test_a_dossier_without_a_blueprint_is_not_in_it(self):
        assert catalogue(registry(dossier())) == ()

    def test_an_unknown_name_is_refused_with_the_nearest(self):
        with pytest.raises(EsperError, match='did you mean "foo"') as error:
            entry_of(registry(blueprint()), "fooo")
        assert error.value.code == "E204"

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            ({}, "abcd"),
            ({"tier": Tier.SAFE}, "ad"),
            ({"tags": ("x",)}, "ab"),
            ({"tags": ("x", "y")}, "b"),
            ({"stage": 1}, "ab"),
            ({"layout": Layout.BTD}, ""),
            ({"conservative": True}, "a"),
        ],
    )
    def test_queries(self, query, names):
        components = [
            *(blueprint(name) for name in "abc"),
            blueprint("d", learnable=False),
            dossier("a", tags=("x",), stage=0),
            dossier("b", tags=("x", "y"), tier=Tier.EXPERIMENTAL),
            dossier("d", stage=4),
        ]
        assert "".join(it.spec.name for it in find(catalogue(registry(*components)), Query(**query))) == names

    def test_the_choice_follows_the_stated_rule(self):
        entries = catalogue(registry(*(blueprint(name) for name in "abcde")))
        for context in ("", "block 1", "ä"):
            digest = hashlib.sha256(context.encode("utf-8")).digest()
            assert choose(reversed(entries), context) is entries[int.from_bytes(digest[:8], "big") % 5]

    def test_what_cannot_be_used_is_not_chosen(self):
        entries = [
            entry(dossier(quarantined=True)),
            entry(dossier(), learnable=False),
            entry(dossier(), unavailable="no accelerator"),
        ]
        with pytest.raises(EsperError) as error:
            choose(entries, "x")
        assert error.value.code == "E408"
        assert choose(entries, "x", approved=[entries[0].id]) is entries[0]


class TestKept:
    def test_an_approval_holds_for_one_version(self, tmp_path):
        keeper = Keeper(tmp_path)
        assert not keeper.approved(entry())
        keeper.approve(entry(), because="tried")
        assert keeper.approved(entry())
        assert not keeper.approved(entry(version="1.1"))
        assert not keeper.approved(entry(distribution="esper-blueprint-bar"))
        assert keeper.revoke(entry())
        assert not keeper.revoke(entry())
        assert not keeper.approved(entry())

    def test_a_plugin_of_one_file_is_another_version_when_the_file_changes(self, tmp_path):
        file = tmp_path / "foo.py"
        file.write_text("1")
        it = evolve(entry(), blueprint=Registered(entry().spec, Origin(plugin="foo", module="foo", file=str(file))))
        keeper = Keeper(tmp_path / "state")
        keeper.approve(it)
        assert keeper.approved(it)
        file.write_text("2")
        assert not keeper.approved(it)

    @pytest.mark.parametrize("text", ["{", '{"blueprint": 1}', "[]", '{"more": ""}', ""])
    def test_what_cannot_be_understood_approves_nothing(self, tmp_path, text):
        keeper = Keeper(tmp_path)
        keeper.approve(entry())
        (path,) = tmp_path.rglob("approval.json")
        path.write_text(text)
        with pytest.raises(EsperError) as error:
            keeper.approved(entry())
        assert error.value.code == "E409"


class TestReview:
    @pytest.fixture(autouse=True)
    def keeper(self, tmp_path, monkeypatch):
        monkeypatch.setenv("ESPER_STATE", str(tmp_path))
        return Keeper(tmp_path)

    def refused(self, *dossiers, named=True, **options):
        try:
            review_blueprints(registry(blueprint(), *dossiers), {"foo": options}, named=named)
        except EsperError as error:
            return error.code, error.what
        return None

    def test_a_safe_one_is_used_whether_it_is_named_or_not(self):
        assert self.refused(dossier()) is None
        assert self.refused(dossier(), named=False) is None

    @pytest.mark.parametrize("recorded", [(), (dossier(tier=Tier.EXPERIMENTAL),), (dossier(approval_required=True),)])
    def test_others_have_to_be_named_or_approved(self, recorded, keeper):
        assert self.refused(*recorded) is None
        assert self.refused(*recorded, named=False) == ("E408", 'nobody named blueprint "foo"')
        keeper.approve(entry())
        assert self.refused(*recorded, named=False) is None

    @pytest.mark.parametrize("recorded", [dossier(tier=Tier.HIGH_RISK), dossier(quarantined=True)])
    def test_naming_does_not_approve_what_is_high_risk_or_quarantined(self, recorded, keeper):
        assert self.refused(recorded) == ("E408", 'blueprint "foo" is not approved')
        keeper.approve(entry())
        assert self.refused(recorded) is None
        keeper.revoke(entry())
        assert self.refused(recorded) is not None

    def test_options_stay_within_what_is_recorded(self):
        it = dossier(bounds={"count": (1, 5), "window": (2, 4)})
        assert self.refused(it, count=5, window=None) is None
        assert self.refused(it, count=6) == ("E408", 'blueprint "foo" may not be used with count = 6')
        assert self.refused(it, window=1) is not None

    def test_a_dossier_that_does_not_fit_is_refused_and_not_passed_over(self):
        assert self.refused(dossier(bounds={"size": (1, 5)})) == (
            "E409",
            'a dossier of blueprint "foo" does not fit it',
        )

    def test_without_karn_nothing_is_refused(self):
        review_blueprints(Registry.of_components([blueprint()]), {"foo": {"count": 99}}, named=False)

    def test_a_review_that_fails_is_no_permission(self):
        broken = evolve(DOSSIER, review="esper_karn.kinds:nothing")
        with pytest.raises(EsperError) as error:
            review_blueprints(Registry.of_components([blueprint()], kinds=(*KINDS, broken)), {"foo": {}}, named=True)
        assert error.value.code == "E141"
