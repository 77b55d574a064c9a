"""Which policy decides, and where it comes from. Imports no torch."""

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from esper_app.configuration.component import ComponentConfig
from esper_app.configuration.validators import check_unique


@frozen(kw_only=True)
class PolicyConfig(ComponentConfig):
    """The policy and its catalogue.

    Attributes:
        name: the policy's name.
        saved: a saved policy to begin with, a folder or a file as for ``--policy``; its card says what is not set here.
            ``champion``: the champion of the state directory, which also brings its version and its rewards.
        version: of the saved policy in the store of policies; None: it is not from there.
        follow: a training's policy does not learn in it, but becomes the new champion between two rounds.
        blueprints: the catalogue, in order; None: the standard ones that fit the host.
        options: the policy's options.
    """

    name: str = "heuristic"
    saved: str | None = None
    version: str | None = None
    follow: bool = False
    blueprints: tuple[str, ...] | None = field(default=None, validator=check_unique)
    options: Mapping[str, Any] = field(factory=dict)
