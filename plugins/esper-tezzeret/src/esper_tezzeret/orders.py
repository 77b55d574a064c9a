"""What a forge is asked for: one blueprint with its options, for activations of one shape."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from attrs import field, frozen, validators

from esper_core.leyline.layouts import Layout
from esper_core.leyline.records import plain
from esper_core.leyline.sites import Site
from esper_urza.inputs import canonical

#: Names of compilers in the order in which they are wanted: the first that can run here is used.
PRESETS: Mapping[str, tuple[str, ...]] = {
    "fast": ("export",),
    "aggressive": ("aoti", "export"),
    "emergency": ("eager",),
}

#: What activations can be of.
DTYPES = ("float32", "float64")


def _sizes(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(values)


def _names(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


@frozen(kw_only=True)
class Order:
    """One artifact that is wanted.

    Attributes:
        blueprint: its id, ``distribution/name``.
        options: its options, as a configuration file has them.
        layout: the axes of the activation.
        shape: of one sample's activation, without the batch.
        causal: positions may see earlier positions only.
        dtype: of the activation.
        compilers: names of compilers; the first that can run here is used.
    """

    blueprint: str
    options: Mapping[str, Any] = field(factory=dict)
    layout: Layout = field(converter=Layout)
    shape: tuple[int, ...] = field(converter=_sizes, validator=validators.deep_iterable(validators.gt(0)))
    causal: bool = False
    dtype: str = field(default="float32", validator=validators.in_(DTYPES))
    compilers: tuple[str, ...] = field(converter=_names, validator=validators.min_len(1))

    def __attrs_post_init__(self) -> None:
        if len(self.shape) != self.layout.rank - 1:
            raise ValueError(f"shape has {len(self.shape)} sizes, and {self.layout} without the batch takes another")

    @property
    def id(self) -> str:
        """The first digits of the SHA-256 over all of it: two orders of the same are one job."""
        return hashlib.sha256(self.written()).hexdigest()[:12]

    @property
    def site(self) -> Site:
        """A site of a host with such activations."""
        width = self.shape[self.layout.width_axis - 1]
        return Site(
            id="forge", path="forge", layout=self.layout, width=width, sample_shape=self.shape, causal=self.causal
        )

    def written(self) -> bytes:
        """Return it as the queue keeps it."""
        return canonical(plain(attrs.asdict(self, recurse=False)))
