"""What a kind of component is: one record, from which everything that has to know of kinds follows."""

import re
from typing import Any, NamedTuple

from attrs import Attribute, field, fields, frozen, validators

from esper_core.leyline.specs import ComponentSpec, ImportString, check_name, check_reference

_CALL = re.compile(r"``(factory\(.*?)``", re.DOTALL)


class Section(NamedTuple):
    """Where the configuration of a run names components of a kind, and where their options stand.

    Make one with `of_one` or `of_several`; a kind that shares a section with another one says both places itself.

    Attributes:
        named_at: dotted key of the name, of a list of names, or of a list of tables that have a ``name``.
        options_at: the header of the table with the options of one component, as TOML writes it; a word in braces
            stands for that field of its descriptor.
        several: a run may use more than one.
    """

    named_at: str
    options_at: str
    several: bool

    @property
    def name(self) -> str:
        """The section that holds the options."""
        return re.split(r"[.\]]", self.options_at.lstrip("["))[0]

    def header(self, spec: ComponentSpec) -> str:
        """Return the header of the table with the options of this component."""
        return self.options_at.format_map({key.name: getattr(spec, key.name) for key in fields(type(spec))})

    @classmethod
    def of_one(cls, name: str) -> "Section":
        """Return the section ``[name]`` with a key ``name`` and the options of the component that it names."""
        return cls(named_at=f"{name}.name", options_at=f"[{name}]", several=False)

    @classmethod
    def of_several(cls, name: str) -> "Section":
        """Return the section ``[name]`` with a list ``names``, and a table of options for each of them."""
        return cls(named_at=f"{name}.names", options_at=f"[{name}.{{name}}]", several=True)


def _check_spec(_: Any, attribute: "Attribute[type[ComponentSpec]]", value: type[ComponentSpec]) -> None:
    if not (isinstance(value, type) and issubclass(value, ComponentSpec)) or not hasattr(value, "kind"):
        raise TypeError(f"{attribute.name} must be a subclass of ComponentSpec with a class attribute `kind`")


def _check_hook(_: Any, attribute: "Attribute[str]", value: str) -> None:
    if not re.fullmatch(r"esper_[a-z0-9_]+", value):
        raise ValueError(f"{attribute.name} {value!r} must look like 'esper_buses'")


@frozen(kw_only=True)
class PluginKind:
    """A kind of component.

    Attributes:
        spec: its descriptor. The class attribute ``kind`` is the kind's name, and its docstring says how the factory
            is called, in the form ``factory(config) -> Thing``.
        hook: the registration hook that returns descriptors of this kind, and of no other.
        specification: the class that specifies this hook.
        family: the word in the names of distributions that offer it: ``esper-<family>-<name>``.
        protocol: what the factory gives.
        section: its place in the configuration of a run; None: no run uses it by itself.
        named_by: the field of the descriptor by which a configuration names it.
        suite: the conformance suite, an `esper_testing.conformance.Conformance`.
        review: is asked before a run or a training begins whether its blueprints may be used, and raises an
            `EsperError` if not: ``review(selection)``, with an `esper_core.plugins.reviews.BlueprintSelection`. It is
            provisional, and may change in any version.
        provisional: why it may change in any version; None for what the plugin API promises.
    """

    spec: type[ComponentSpec] = field(validator=_check_spec)
    hook: str = field(validator=_check_hook)
    specification: type = field(validator=validators.instance_of(type))
    family: str = field(validator=check_name)
    protocol: ImportString = field(validator=check_reference)
    section: Section | None = field(default=None, validator=validators.optional(validators.instance_of(Section)))
    named_by: str = "name"
    suite: ImportString | None = field(default=None, validator=validators.optional(check_reference))
    review: ImportString | None = field(default=None, validator=validators.optional(check_reference))
    provisional: str | None = None

    @property
    def name(self) -> str:
        """Its name, such as ``reward-term``."""
        return self.spec.kind

    @property
    def summary(self) -> str:
        """What it is, in one sentence: the beginning of its descriptor's docstring."""
        return (self.spec.__doc__ or "").strip().partition(" ``")[0].partition("\n")[0]

    @property
    def call(self) -> str:
        """How its factory is called, in the words of its descriptor's docstring."""
        found = _CALL.search(self.spec.__doc__ or "")
        return " ".join(found[1].split()) if found else ""
