"""Where on a host a slot may act."""

from attrs import field, frozen, validators

from esper_core.leyline.layouts import Layout


def _layout(value: Layout | str | None) -> Layout | None:
    return None if value is None else Layout(value)


@frozen(kw_only=True)
class SiteRequest:
    """What a host declares about a site; one traced batch confirms it and fills in the rest.

    Attributes:
        path: name of the submodule, as in ``named_modules()``.
        id: short name of the site; default is the path. A state-dict key is built from it: no dots.
        output: tuple index or mapping key, if the submodule's output is not a plain tensor.
        layout: axes of the activation; default is found out.
        causal: position t may see positions up to t only; default is found out, and causal where that is not possible.
        mask: name, or position, of the argument in which the submodule is told which positions are padding; None: it
            is not told. For the layout `BTD`.
    """

    path: str
    id: str | None = None
    output: int | str | None = None
    layout: Layout | None = field(default=None, converter=_layout)
    causal: bool | None = None
    mask: int | str | None = None


@frozen(kw_only=True)
class Site:
    """A confirmed site: a submodule on whose output a slot may act.

    Attributes:
        id: short name, unique in the host, without dots.
        path: name of the submodule.
        layout: axes of the activation.
        width: number of channels or features.
        sample_shape: shape of one sample's activation in the traced batch (batch axis left out).
        output: tuple index or mapping key of the tensor in the submodule's output.
        causal: position t may see positions up to t only.
        mask: name or position of the submodule's argument that says which positions are padding.
        order: position among the host's sites in execution order, from 0.
        depth: relative depth in the host, 0 to 1.
        inplace_successor: the next operation overwrites the activation, so a slot must hand out a copy.
        dtype: of the activation, as torch names it; None: that of the host's parameters.
        input_shape: shape of one sample of what the submodule is given, where that is a linear or convolutional layer
            called with a tensor; else empty.
    """

    id: str = field(validator=validators.matches_re(r"[^.\s]+"))
    path: str
    layout: Layout
    width: int = field(validator=validators.gt(0))
    sample_shape: tuple[int, ...]
    output: int | str | None = None
    causal: bool = False
    mask: int | str | None = None
    order: int = 0
    depth: float = 0.0
    inplace_successor: bool = False
    dtype: str | None = None
    input_shape: tuple[int, ...] = ()

    def shape(self, batch: int) -> tuple[int, ...]:
        """Return the activation's shape for a batch of this size."""
        return (batch, *self.sample_shape)
