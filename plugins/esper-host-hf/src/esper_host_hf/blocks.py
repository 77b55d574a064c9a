"""Where a transformers model can grow: its list of blocks, found from its structure and confirmed by running it.

The list of blocks is the `nn.ModuleList` of modules of one class with the most parameters, among those that are not
inside another list, and whose members each run once per forward pass, in their order, and return one activation (batch,
positions, features). So experts inside a block, or lists outside the main path, are not mistaken for it, and nothing
depends on how a model names its parts. These runs also show what a block returns (a tensor, a tuple, a mapping),
whether it looks ahead, and in which argument it receives a padding mask.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import partial
from inspect import Parameter, signature
from typing import Any

import torch
from attrs import frozen
from torch import Tensor, nn

from esper_core.api import EsperError, Layout, SiteRequest
from esper_core.nn import real_positions
from esper_growing.probing import follows_rows, looks_back, undisturbed
from esper_host_hf.probing import Call, Probe, the_other_way_round


@frozen(kw_only=True)
class _Run:
    """One call of a submodule: its path, the activation in its output, and its arguments."""

    path: str
    key: int | str | None
    activation: Tensor | None
    arguments: Mapping[int | str, Any]


def find_blocks(model: nn.Module, call: Call, probe: Probe) -> tuple[SiteRequest, ...]:
    """Return a site ``block0``, ``block1``, … after each of the model's blocks.

    Args:
        model: any network.
        call: calls it on a batch.
        probe: batches to try.

    Raises:
        EsperError: E402 if the model has no list of blocks.
    """
    lists = _lists(model)
    runs = _observe(model, [path for paths in lists for path in paths], call, probe.inputs)
    problems = [_problem(paths, runs, probe.size) for paths in lists]
    if all(problems):
        raise EsperError(
            "E402",
            f"{type(model).__name__} has no list of blocks where it could grow",
            why=problems[0] if problems else "it has no list of modules of one class",
            fix="name the submodules after which slots may act, such as host.blocks='encoder.layers.*'",
        )
    paths = lists[problems.index("")]
    _check_rows(model, paths, call, probe)
    blocks = {run.path: run for run in runs if run.path in set(paths)}
    causal = _is_causal(model, [*blocks.values()], call, probe)
    masks = _masks(model, paths, call, probe)
    return tuple(
        SiteRequest(
            path=path,
            id=f"block{index}",
            output=blocks[path].key,
            layout=Layout.BTD,
            causal=causal,
            mask=masks.get(path),
        )
        for index, path in enumerate(paths)
    )


def named_blocks(model: nn.Module, pattern: str, call: Call, probe: Probe) -> tuple[SiteRequest, ...]:
    """Return a site after each submodule whose name matches a glob pattern, in the order in which they run.

    ``*`` does not match dots, and the name of a list stands for its members.

    Raises:
        EsperError: E401 if the pattern matches nothing, or the first axis of an activation is not the batch.
    """
    paths = _matching(model, pattern)
    # The lists are needed too: before its first attention, even an encoder does not look ahead.
    watched = dict.fromkeys([*paths, *(path for members in _lists(model) for path in members)])
    runs = _observe(model, watched, call, probe.inputs)
    causal = _is_causal(model, runs, call, probe)
    named: dict[str, _Run] = {}
    for run in runs:
        if run.path in set(paths):
            _check_batch(run, probe.size)
            named.setdefault(run.path, run)
    _check_rows(model, [*named], call, probe)
    masks = _masks(model, paths, call, probe)
    sites = [
        SiteRequest(path=path, output=run.key, layout=_layout(run.activation), causal=causal, mask=masks.get(path))
        for path, run in named.items()
    ]
    # Submodules that never ran are requested too; they are refused by name when the sites are confirmed.
    return (*sites, *(SiteRequest(path=path) for path in paths if path not in named))


def _lists(model: nn.Module) -> list[list[str]]:
    """Return the paths of the members of each list of modules of one class, those with most parameters first.

    A list inside a member of another list is part of a block, even if the outer list is not chosen.
    """
    found: list[tuple[str, nn.ModuleList]] = []
    for path, part in model.named_modules():
        if isinstance(part, nn.ModuleList) and not any(path.startswith(f"{outer}.") for outer, _ in found):
            found.append((path, part))
    of_one_class = [(path, part) for path, part in found if len({type(member) for member in part}) == 1]
    of_one_class.sort(key=lambda entry: -sum(parameter.numel() for parameter in entry[1].parameters()))
    return [[f"{path}.{name}" for name, _ in part.named_children()] for path, part in of_one_class]


def _matching(model: nn.Module, pattern: str) -> list[str]:
    modules = {path: module for path, module in model.named_modules() if path}
    matching = [path for path in modules if _matches(path, pattern)]
    if not matching:
        lists = [path for path, module in modules.items() if isinstance(module, nn.ModuleList)]
        raise EsperError(
            "E401",
            f'no submodule is named "{pattern}"',
            where="host.blocks",
            why=f"the lists in this model are {', '.join(lists) or 'none'}",
            fix="give the name of a list of blocks, or a glob pattern that matches names of submodules",
        )
    members = (
        [f"{path}.{name}" for name, _ in modules[path].named_children()]
        if isinstance(modules[path], nn.ModuleList)
        else [path]
        for path in matching
    )
    return [*dict.fromkeys(path for paths in members for path in paths)]


def _matches(path: str, pattern: str) -> bool:
    parts, patterns = path.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _observe(model: nn.Module, paths: Iterable[str], call: Call, inputs: Any) -> list[_Run]:
    """Call the model and return every run of the submodules at these paths, in order."""
    runs: list[_Run] = []

    def record(path: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        key, activation = _activation(output)
        runs.append(_Run(path=path, key=key, activation=activation, arguments={**dict(enumerate(args)), **kwargs}))

    handles = [
        model.get_submodule(path).register_forward_hook(partial(record, path), with_kwargs=True) for path in paths
    ]
    try:
        with undisturbed(model):
            call(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return runs


def _activation(output: Any) -> tuple[int | str | None, Tensor | None]:
    """Return the first floating-point tensor in an output, and its place."""
    parts: Iterable[tuple[int | str | None, Any]] = [(None, output)]
    if isinstance(output, Mapping):
        parts = output.items()
    elif isinstance(output, tuple | list):
        parts = enumerate(output)
    tensors = ((key, part) for key, part in parts if isinstance(part, Tensor) and part.is_floating_point())
    return next(tensors, (None, None))


def _problem(paths: Sequence[str], runs: Sequence[_Run], samples: int) -> str:
    """Say why these are not the model's blocks; "" if they are."""
    mine = [run for run in runs if run.path in set(paths)]
    counts = Counter(run.path for run in mine)
    for path in paths:
        if counts[path] != 1:
            return f"{path} runs {counts[path]} times in a forward pass"
    if [run.path for run in mine] != [*paths]:
        return f"{paths[0]} and the members after it run in a different order"
    for run in mine:
        if run.activation is None or run.activation.ndim != 3 or run.activation.shape[0] != samples:
            shape = "no activation" if run.activation is None else f"shape {tuple(run.activation.shape)}"
            return f"{run.path} returns {shape} for {samples} samples, not (batch, positions, features)"
    return ""


def _check_batch(run: _Run, samples: int) -> None:
    if run.activation is not None and run.activation.shape[:1] != (samples,):
        raise EsperError(
            "E401",
            f'"{run.path}" cannot carry a slot',
            where="host.blocks",
            why=f"its shape is {tuple(run.activation.shape)} for {samples} samples: the first axis is not the batch",
            fix="name other submodules",
        )


def _check_rows(model: nn.Module, paths: Sequence[str], call: Call, probe: Probe) -> None:
    """Raises EsperError E401 where samples in another order do not give activations in that order."""
    before = _observe(model, paths, call, probe.inputs)
    after = _observe(model, paths, call, the_other_way_round(probe.inputs))
    for one, other in zip(before, after, strict=True):
        if one.activation is None or other.activation is None:
            continue
        if one.activation.shape != other.activation.shape or not follows_rows(one.activation, other.activation):
            raise EsperError(
                "E401",
                f'"{one.path}" cannot carry a slot',
                why=f"samples in another order do not give its output of shape {tuple(one.activation.shape)} in that "
                "order: its first axis is not that of the samples, or they depend on each other",
                fix="name other submodules",
            )


def _is_causal(model: nn.Module, runs: Sequence[_Run], call: Call, probe: Probe) -> bool:
    """Say whether changing the second half of a sequence leaves the first half unchanged in all of these runs."""
    if probe.altered is None:
        return False
    paths = dict.fromkeys(run.path for run in runs)
    before, after = _sequences(runs), _sequences(_observe(model, paths, call, probe.altered))
    pairs = [(one, after[run]) for run, one in before.items() if run in after and after[run].shape == one.shape]
    return bool(pairs) and all(looks_back(one, other, probe.split) for one, other in pairs)


def _masks(model: nn.Module, paths: Iterable[str], call: Call, probe: Probe) -> dict[str, int | str]:
    """Return the argument in which each submodule receives the padding mask, for those that receive one."""
    found: dict[str, int | str] = {}
    if probe.padded is None or probe.real is None:
        return found
    try:
        runs = _observe(model, paths, call, probe.padded)
    except Exception:  # the model does not support padding, or not this padding, so it has no mask
        return found
    for run in runs:
        if run.activation is None or run.activation.ndim != 3:
            continue
        for key, value in run.arguments.items():
            if isinstance(value, Tensor) and _says(value, probe.real):
                found.setdefault(run.path, _name(model.get_submodule(run.path), key))
    return found


def _says(value: Tensor, real: Tensor) -> bool:
    with suppress(ValueError):
        return torch.equal(real_positions(value, *real.shape).to(real.device), real)
    return False


def _name(module: nn.Module, key: int | str) -> int | str:
    """Return the name of an argument that was passed by position, because other callers may pass it by name."""
    parameters = [*signature(module.forward).parameters.values()]
    if isinstance(key, str) or key >= len(parameters) or parameters[key].kind is not Parameter.POSITIONAL_OR_KEYWORD:
        return key
    return parameters[key].name


def _sequences(runs: Iterable[_Run]) -> dict[tuple[str, int], Tensor]:
    """Return the activations (batch, positions, features) by path and by the number of earlier runs of that path."""
    seen: Counter[str] = Counter()
    found: dict[tuple[str, int], Tensor] = {}
    for run in runs:
        if run.activation is not None and run.activation.ndim == 3:
            found[run.path, seen[run.path]] = run.activation
        seen[run.path] += 1
    return found


def _layout(activation: Tensor | None) -> Layout | None:
    return Layout.BTD if activation is not None and activation.ndim == 3 else None
