"""What the axes of an activation are, and what it depends on: found out by running the traced batch in other forms."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from attrs import define, field, frozen
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from esper_core.kasmina.undisturbed import undisturbed
from esper_core.tolaria.data import Inputs

#: Differences of this many units in the last place, of the largest number, are none.
_ROUNDING = 64
#: How far results of other kernels may be apart, relative to the largest number.
_OTHER_KERNELS = 1e-3
#: Modules whose features lie in the last axis, and in the second one, with the attribute that says how many.
_LAST: tuple[tuple[type[nn.Module], str], ...] = (
    (nn.Linear, "out_features"),
    (nn.LayerNorm, "normalized_shape"),
    (nn.RMSNorm, "normalized_shape"),
    (nn.Embedding, "embedding_dim"),
)
_SECOND = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)


@frozen
class TracedBatch:
    """What a model is called with.

    Attributes:
        args, kwargs: of the call. Tensors with as many rows as the first one have one row for each sample.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(factory=dict)

    @property
    def samples(self) -> int:
        """Number of samples; 0 where nothing has an axis."""
        return next((leaf.shape[0] for leaf in self._tensors()), 0)

    def run(self, model: nn.Module) -> Any:
        """Call the model."""
        return model(*self.args, **self.kwargs)

    def changed(self, change: Callable[[Tensor], Tensor]) -> "TracedBatch":
        """Return it with a change to every tensor that has a row for each sample."""
        samples = self.samples

        def one(leaf: Any) -> Any:
            return change(leaf) if isinstance(leaf, Tensor) and leaf.ndim and leaf.shape[0] == samples else leaf

        args, kwargs = tree_map(one, (self.args, dict(self.kwargs)))
        return TracedBatch(args, kwargs)

    def lengths(self) -> tuple[tuple[int, int], ...]:
        """Return the axes, and their lengths, along which there may be positions."""
        found = [
            (axis, size)
            for leaf in self._tensors()
            if leaf.shape[0] == self.samples
            for axis, size in enumerate(leaf.shape)
            if axis and size > 1
        ]
        return tuple(dict.fromkeys(found))

    def _tensors(self) -> Iterator[Tensor]:
        leaves = tree_leaves((self.args, dict(self.kwargs)))
        return (leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim)


def traced(inputs: Inputs) -> TracedBatch:
    """Return a batch as what a network is called with."""
    if isinstance(inputs, Mapping):
        return TracedBatch((), inputs)
    return TracedBatch(inputs if isinstance(inputs, tuple) else (inputs,))


@define
class Seen:
    """What was found out about one activation; None is not known.

    Attributes:
        activation: as the traced batch makes it.
        rows: its first axis is that of the samples; False: another is, or samples depend on each other.
        positions: its axes that grow with the input.
        causal: no position depends on a later one.
        features: the axis of the features, as the torch module says that it came from.
    """

    activation: Tensor
    rows: bool | None = None
    positions: frozenset[int] = frozenset()
    causal: bool | None = None
    features: int | None = None


@frozen(kw_only=True)
class Findings:
    """What was found out about a model on a batch.

    Attributes:
        seen: of each activation.
        fixed_batch: the model takes no other number of samples, or computes something else for it.
    """

    seen: Mapping[str, Seen]
    fixed_batch: bool


#: Runs a batch and returns the activations by name; what is not there did not come.
Observe = Callable[[TracedBatch], Mapping[str, Tensor]]


def find_out(model: nn.Module, batch: TracedBatch, observe: Observe) -> Findings:
    """Run a batch in other forms and say what that shows about each activation.

    Its samples in another order: where the activation follows, its first axis is theirs. Half of them: a model may take
    one size only. Shorter: the axes that shrink are positions. Another second half of the positions: what changes in
    the first half looks ahead. A form that the model does not take tells nothing.

    Args:
        model: the model; it is left as it was.
        batch: what it is called with.
        observe: calls it.
    """

    def tried(form: TracedBatch) -> Mapping[str, Tensor]:
        try:
            with undisturbed(model):
                return observe(form)
        except Exception:  # whatever a model raises on what it does not take
            return {}

    first, again = tried(batch), tried(batch)
    seen = {name: Seen(activation) for name, activation in first.items()}
    if not first or not all(name in again and _close(again[name], one.activation) for name, one in seen.items()):
        return Findings(seen=seen, fixed_batch=False)  # it draws random numbers: nothing can be compared
    if batch.samples > 1:
        _compare_rows(seen, tried(batch.changed(lambda leaf: leaf.flip(0))))
    half = batch.samples // 2
    fewer = tried(batch.changed(lambda leaf: leaf[:half])) if half else {}
    fixed = bool(half) and not all(name in fewer and _is_part(fewer[name], one, half) for name, one in seen.items())
    for axis, size in batch.lengths():
        _compare_lengths(seen, batch, axis, size, tried)
    return Findings(seen=seen, fixed_batch=fixed)


def module_axes(model: nn.Module, seen: Mapping[str, Seen], run: Callable[[], Any], paths: Mapping[str, str]) -> None:
    """Let torch's own modules say in which axis features lie: the last one that gave an activation of the same shape.

    Args:
        model: the model.
        seen: gets what was found.
        run: calls the model once.
        paths: of the submodule that gives each activation.
    """
    latest: dict[tuple[int, ...], int] = {}
    handles = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and (axis := _features(module, output)) is not None:
            latest[tuple(output.shape)] = axis

    def read(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def reading(module: nn.Module, args: Any, output: Any) -> None:
            seen[name].features = latest.get(tuple(seen[name].activation.shape))

        return reading

    try:
        handles += [module.register_forward_hook(note) for module in model.modules()]
        handles += [model.get_submodule(path).register_forward_hook(read(name)) for name, path in paths.items()]
        with suppress(Exception), undisturbed(model):
            run()
    finally:
        for handle in handles:
            handle.remove()


def follows_rows(activation: Tensor, reversed_rows: Tensor) -> bool:
    """Say whether the first axis of an activation is that of the samples, which came the other way round meanwhile."""
    return _close(reversed_rows, activation.flip(0))


def looks_back(activation: Tensor, later: Tensor, split: int) -> bool | None:
    """Say whether positions before `split` are as they were when those behind it have changed; None: nothing has.

    Args:
        activation, later: (B, T, D), before and after.
        split: the first position that was given other inputs.
    """
    # Other shapes round differently. In half precision this errs towards causal, which at worst keeps seeds from
    # looking ahead where they could.
    change, rounding = (later - activation).abs(), _rounding(activation)
    if not bool((change[:, split:] > rounding).any()):
        return None
    return not bool((change[:, :split] > rounding).any())


def _features(module: nn.Module, output: Tensor) -> int | None:
    for kind, attribute in _LAST:
        if isinstance(module, kind):
            size = getattr(module, attribute)
            size = size[-1] if isinstance(size, tuple) else size
            return output.ndim - 1 if output.shape[-1] == size else None
    return 1 if isinstance(module, _SECOND) and output.ndim > 2 else None


def _compare_rows(seen: Mapping[str, Seen], other: Mapping[str, Tensor]) -> None:
    for name, one in seen.items():
        if name in other and other[name].shape == one.activation.shape and one.activation.ndim:
            one.rows = follows_rows(one.activation, other[name])


def _is_part(fewer: Tensor, one: Seen, half: int) -> bool:
    whole = one.activation
    if one.rows is False:
        return True
    return fewer.shape == (half, *whole.shape[1:]) and _close(fewer, whole[:half])


def _compare_lengths(seen: Mapping[str, Seen], batch: TracedBatch, axis: int, size: int, tried: Observe) -> None:
    def shorter(length: int) -> TracedBatch:
        return batch.changed(lambda leaf: leaf.narrow(axis, 0, length) if _long(leaf, axis, size) else leaf)

    found = (tried(shorter(length)) for length in (size // 2, size - 1) if length)
    short: Mapping[str, Tensor] = next(filter(None, found), {})
    along = {name for name, one in seen.items() if name in short and _shrunk(one, short[name])}
    for name in along:
        shapes = zip(seen[name].activation.shape, short[name].shape, strict=True)
        seen[name].positions |= {place for place, (long, less) in enumerate(shapes) if long != less}
    if not along:
        return
    split = size // 2
    later = tried(batch.changed(lambda leaf: _altered(leaf, axis, split) if _long(leaf, axis, size) else leaf))
    for name in along & set(later):
        one = seen[name]
        if one.activation.ndim == 3 and one.activation.shape[1] == size and 1 in one.positions:
            one.causal = looks_back(one.activation, later[name], split)


def _long(leaf: Tensor, axis: int, size: int) -> bool:
    return leaf.ndim > axis and leaf.shape[axis] == size


def _altered(leaf: Tensor, axis: int, split: int) -> Tensor:
    """Other numbers of the same range from a position on."""
    if leaf.dtype is torch.bool or not leaf.numel():
        return leaf
    changed = leaf.clone()
    behind = changed.narrow(axis, split, leaf.shape[axis] - split)
    behind.copy_(leaf.min() + leaf.max() - behind)
    return changed


def _shrunk(one: Seen, short: Tensor) -> bool:
    whole = one.activation.shape
    return len(short.shape) == len(whole) and short.shape[0] == whole[0] and short.shape != whole


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    # Larger batches are summed in another order, layer after layer; what is not the same at all differs by far more.
    tolerance = max(_rounding(other), _OTHER_KERNELS * float(other.abs().max()) if other.numel() else 0.0)
    return bool(((one - other).abs() <= tolerance).all())


def _rounding(like: Tensor) -> float:
    largest = float(like.abs().max()) if like.numel() else 0.0
    return min(_ROUNDING * torch.finfo(like.dtype).eps, 0.1) * largest
