"""The adapters of one network."""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from esper_blueprint_lora.adapters.files import AdapterFile, read_adapter, write_adapter
from esper_blueprint_lora.adapters.layer import HELD, Held, Layer, LowRank, add_updates
from esper_blueprint_lora.adapters.targets import layers_of, refuse_merging, refuse_unfit, refused
from esper_core.api import EsperError


class LoraAdapters:
    """Named low-rank adapters of one network; several are held at once, and any number of them is active.

    The network stays the user's: its layers keep their classes and paths. Each layer that an adapter changes gets a
    submodule ``lora_adapters`` and a forward hook, so adapters move, and are copied, with the network.

    Args:
        model: the network.
        freeze: nothing of the network itself is trained from here on; `close` gives that back.

    Raises:
        EsperError: E647 if the network holds adapters already.
    """

    def __init__(self, model: nn.Module, *, freeze: bool = True) -> None:
        if any(hasattr(module, HELD) for module in model.modules()):
            raise refused("the network holds adapters already", f"a submodule {HELD} is there", "use their object")
        self.model = model
        self._thawed = [it for it in model.parameters() if it.requires_grad] if freeze else []
        for parameter in self._thawed:
            parameter.requires_grad_(False)
        self._hooks: dict[str, Any] = {}
        self._names: list[str] = []
        self._active: tuple[str, ...] = ()
        self._merged: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all adapters that are held, in the order in which they came."""
        return tuple(self._names)

    @property
    def active(self) -> tuple[str, ...]:
        """Of those that are added to the outputs; those that are merged are not among them."""
        return self._active

    @property
    def merged(self) -> tuple[str, ...]:
        """Of those that are in the weights."""
        return self._merged

    def add(
        self,
        name: str,
        targets: Iterable[str],
        rank: int = 8,
        *,
        alpha: float | None = None,
        ranks: Mapping[str, int] | None = None,
        dropout: float = 0.0,
    ) -> None:
        """Add an adapter that adds zero; it is not active yet.

        Args:
            name: without dots.
            targets: paths of linear and convolutional layers, patterns of them such as ``layers.*.mlp.*``, or last
                parts of paths such as ``q_proj``.
            rank: of each layer's update, where `ranks` has no other.
            alpha: the update is multiplied by ``alpha / rank``; None: by 1.
            ranks: by path; 0 leaves a layer as it is.
            dropout: of the layers' inputs, in training.

        Raises:
            EsperError: E647 for a name that is taken or has a dot, for targets that are not there or cannot be
                adapted, and for ranks that mean nothing.
        """
        paths = layers_of(self.model, targets)
        own = dict(ranks or {})
        if unknown := sorted({*own} - {*paths}):
            raise refused(f'"{unknown[0]}" has a rank and is no target', "ranks are by path", "add it to targets")
        wanted = {path: own.get(path, rank) for path in paths}
        if bad := [path for path, it in wanted.items() if not isinstance(it, int) or it < 0]:
            raise refused(f"{wanted[bad[0]]!r} is no rank", "a rank is a whole number, 0 or more", "choose another")
        if not any(wanted.values()):
            raise refused(f'adapter "{name}" would change nothing', "all ranks are 0", "choose larger ranks")
        if not 0.0 <= dropout < 1.0:
            raise refused(f"{dropout!r} is no dropout", "it is a probability below 1", "choose another")
        self._add(name, wanted, alpha, dropout)

    def _add(self, name: str, wanted: Mapping[str, int], alpha: float | None, dropout: float) -> None:
        if not name or "." in name or name in self._names:
            what = f'no adapter can have the name "{name}"'
            raise refused(what, "it is taken, empty, or has a dot", "choose another")
        for path, it in wanted.items():
            layer = self._layer(path)
            scale = 1.0 if alpha is None or not it else alpha / it
            held = self._held(path, layer)
            held.updates[name] = LowRank(layer, it, scale, dropout).requires_grad_(False).train(layer.training)
        self._names.append(name)

    def activate(self, *names: str, train: bool = True) -> None:
        """Let exactly these be added to the outputs; with `train` exactly these are trained.

        Raises:
            EsperError: E647 for a name that is not held, or is merged.
        """
        names = tuple(dict.fromkeys(names))
        for name in names:
            self._known(name)
            if name in self._merged:
                raise refused(f'adapter "{name}" is in the weights', "it would count twice", "unmerge() first")
        for _, held in self._layers():
            held.active = tuple(name for name in names if name in held.updates)
            for name, update in held.updates.items():
                update.requires_grad_(train and name in names)
        self._active = names

    def updates(self, name: str) -> dict[str, LowRank]:
        """Return an adapter's updates by the path of their layers."""
        self._known(name)
        return {path: held.updates[name] for path, held in self._layers() if name in held.updates}

    def parameters(self, name: str) -> Iterator[nn.Parameter]:
        """Yield an adapter's parameters."""
        for update in self.updates(name).values():
            yield from update.parameters()

    def ranks(self, name: str) -> dict[str, int]:
        """Return an adapter's ranks by path."""
        return {path: update.rank for path, update in self.updates(name).items()}

    def matrices(self, name: str) -> dict[str, Tensor]:
        """Return what an adapter adds to the weights, by the path of their layers, in their shapes."""
        return {path: update.matrix().detach() for path, update in self.updates(name).items()}

    def merge(self, *names: str) -> None:
        """Add these to the weights: the network computes what it computes with exactly these active, at no cost.

        `unmerge` gives the weights back bit for bit, from copies that are kept until then.

        Raises:
            EsperError: E647 for a name that is not held, if something is merged already, or for a weight that is shared
                with another layer or is not of floating point.
        """
        if self._merged:
            raise refused(f"{', '.join(self._merged)} is merged already", "only one merge is kept", "unmerge() first")
        names = tuple(dict.fromkeys(names))
        found = {name: self.matrices(name) for name in names}
        touched = dict.fromkeys(path for own in found.values() for path in own)
        for path in touched:
            refuse_merging(self.model, path)
        for path in touched:
            layer, held = self._layer(path), getattr(self._layer(path), HELD)
            held.before = layer.weight.detach().clone()
            with torch.no_grad():
                for own in found.values():
                    if path in own:
                        layer.weight += own[path].to(layer.weight.dtype)
        self.activate(train=False)
        self._merged = names

    def unmerge(self) -> None:
        """Give the weights back as they were in front of `merge`; nothing is active then."""
        for path, held in self._layers():
            if held.before.numel():
                with torch.no_grad():
                    self._layer(path).weight.copy_(held.before)
                held.before = torch.empty(0, device=held.before.device)
        self._merged = ()

    def drop(self, name: str) -> None:
        """Forget an adapter; what it had is gone.

        Raises:
            EsperError: E647 if it is not held, or is in the weights.
        """
        self._known(name)
        if name in self._merged:
            raise refused(f'adapter "{name}" is in the weights', "they could not be told apart", "unmerge() first")
        self._names.remove(name)
        self._active = tuple(it for it in self._active if it != name)
        for path, held in [*self._layers()]:
            if name in held.updates:
                held.active = tuple(it for it in held.active if it != name)
                del held.updates[name]
            if not held.updates:
                self._release(path)

    def close(self) -> None:
        """Drop all adapters, and leave the network as it was: weights, hooks and what is trained."""
        self.unmerge()
        for name in self.names:
            self.drop(name)
        for parameter in self._thawed:
            parameter.requires_grad_(True)
        self._thawed = []

    def export(self, *names: str) -> nn.Module:
        """Return a plain copy of the network with these in its weights, without any adapter. Raises as `merge` does."""
        copied = deepcopy(self.model)
        for path, held in self._layers():
            layer: Any = copied.get_submodule(path)
            if any(name in held.updates for name in names):
                refuse_merging(self.model, path)
            with torch.no_grad():
                if held.before.numel():
                    layer.weight.copy_(held.before)
                for name in dict.fromkeys(names):
                    self._known(name)
                    if name in held.updates:
                        layer.weight += held.updates[name].matrix().to(layer.weight.dtype)
            _unhook(layer)
        return copied.requires_grad_(True)

    def save(self, name: str, folder: Path) -> None:
        """Write an adapter as PEFT does: ``adapter_config.json`` and ``adapter_model.safetensors``.

        `peft.PeftModel.from_pretrained` reads it. Layers of rank 0 are left out.

        Raises:
            EsperError: E647 if it is not held, or has rank 0 everywhere; E501 if the folder cannot be written.
        """
        updates = {path: it for path, it in self.updates(name).items() if it.rank}
        if not updates:
            raise refused(f'adapter "{name}" adds nothing', "all its ranks are 0", "there is nothing to write")
        rows = {path: (it.down.detach(), it.up.detach(), it.scale) for path, it in updates.items()}
        write_adapter(folder, AdapterFile(layers=rows, dropout=next(iter(updates.values())).dropout))

    def load(self, name: str, folder: Path) -> None:
        """Add an adapter that `save` or PEFT's ``save_pretrained`` has written; it is not active yet.

        Raises:
            EsperError: E648 if the files are missing or damaged, say something that is not understood, or do not fit
                the network; E647 for the name.
        """
        found = read_adapter(folder)
        for path, (down, up, _) in found.layers.items():
            self._refuse_other_shape(folder, path, down, up)
        for path in found.layers:
            refuse_unfit(path, self._layer(path))
        # These very layers: as targets, their paths may be the last parts of others.
        self._add(name, {path: len(down) for path, (down, _, _) in found.layers.items()}, None, found.dropout)
        for path, update in self.updates(name).items():
            down, up, scale = found.layers[path]
            with torch.no_grad():
                update.down.copy_(down)
                update.up.copy_(up)
            update.scale = scale

    def _refuse_other_shape(self, folder: Path, path: str, down: Tensor, up: Tensor) -> None:
        layer = dict(self.model.named_modules()).get(path)
        shape = tuple(layer.weight.shape) if isinstance(layer, Layer) else None
        if shape != (len(up), *down.shape[1:]):
            here = "is no such layer" if shape is None else f"has a weight of {shape}"
            raise EsperError(
                "E648",
                f'"{folder}" is an adapter of another network',
                where=path,
                why=f"it changes a weight of {(len(up), *down.shape[1:])}, and here {here}",
                fix="load it into the network that it was made for",
            )

    def _held(self, path: str, layer: Layer) -> Held:
        if not hasattr(layer, HELD):
            setattr(layer, HELD, Held().train(layer.training))
            self._hooks[path] = layer.register_forward_hook(add_updates, with_kwargs=True)
        held: Held = getattr(layer, HELD)
        return held

    def _release(self, path: str) -> None:
        self._hooks.pop(path).remove()
        delattr(self._layer(path), HELD)

    def _layers(self) -> Iterator[tuple[str, Held]]:
        for path in self._hooks:
            yield path, getattr(self._layer(path), HELD)

    def _layer(self, path: str) -> Any:
        return self.model.get_submodule(path)

    def _known(self, name: str) -> None:
        if name not in self._names:
            known = ", ".join(self._names) or "none"
            raise refused(f'there is no adapter "{name}"', f"held are: {known}", "add or load it first")


def _unhook(layer: nn.Module) -> None:
    for key, hook in [*layer._forward_hooks.items()]:
        if hook is add_updates:
            del layer._forward_hooks[key]
            layer._forward_hooks_with_kwargs.pop(key, None)
    delattr(layer, HELD)
