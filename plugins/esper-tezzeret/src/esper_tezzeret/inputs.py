"""From an order to what its artifact will have been made from."""

import hashlib
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from esper_core.leyline.errors import EsperError
from esper_core.leyline.records import plain
from esper_core.leyline.specs import BlueprintSpec, Capability
from esper_core.plugins.records import Registered
from esper_core.plugins.registry import Registry
from esper_core.plugins.resolve import build_config, require_available
from esper_tezzeret.kinds import CompilerSpec
from esper_tezzeret.orders import Order
from esper_urza.inputs import ArtifactInputs
from esper_urza.machine import this_machine

#: Seeds of these need more of a host than the shape of an activation.
_OF_A_HOST = {
    Capability.SITE_MODULE: "its seeds are made of the submodule of their site, which only a host has",
    Capability.SITE_INPUT: "its seeds take what the submodule of their site was given, which only a host has",
}


def blueprint_of(order: Order, registry: Registry) -> Registered:
    """Return the blueprint of an order.

    Raises:
        EsperError: E204 if it is not installed, E161 if it cannot run here, E625 if it cannot be compiled for this
            layout, or at all.
    """
    found = registry.get(BlueprintSpec.kind, order.blueprint, where="forge")
    require_available(found)
    assert isinstance(found.spec, BlueprintSpec)
    for capability, why in _OF_A_HOST.items():
        if capability in found.spec.capabilities:
            raise cannot(order, why, "it is built in process where a host grows")
    if order.layout not in found.spec.layouts:
        fits = ", ".join(sorted(found.spec.layouts))
        raise cannot(order, f"it does not fit the layout {order.layout}", f"give a shape for {fits}")
    return found


def inputs_of(order: Order, registry: Registry, compiler: Registered) -> ArtifactInputs:
    """Return what the artifact of an order, made by this compiler, is made from.

    Raises:
        EsperError: as `blueprint_of`, and E201 or E202 for the blueprint's options.
    """
    blueprint = blueprint_of(order, registry)
    spec, machine = compiler.spec, this_machine()
    assert isinstance(spec, CompilerSpec)
    return ArtifactInputs(
        blueprint=blueprint.spec.name,
        distribution=blueprint.origin.provider,
        version=blueprint.origin.version,
        code=code_digest(blueprint),
        options=_options(build_config(blueprint, order.options, path=f"blueprints.{blueprint.spec.name}")),
        layout=str(order.layout),
        shape=order.shape,
        causal=order.causal,
        dtype=order.dtype,
        compiler=spec.name,
        compiler_version=compiler.origin.version,
        compiler_options=_options(build_config(compiler, {})),
        torch=machine.torch,
        cpu=tuple(machine.cpu) if spec.machine_code else (),
    )


def code_digest(registered: Registered) -> str:
    """Return the SHA-256 over the Python files of the packages in which a component and its plugin stand.

    Raises:
        EsperError: E625 if none is found, E626 if one cannot be read, such as one that an editor just replaces.
    """
    spec, origin = registered.spec, registered.origin
    modules = (origin.module, _module(spec.factory), _module(spec.config))
    # Torch's version is among the inputs beside this digest.
    packages = {module.partition(".")[0] for module in modules} - {"", "torch"} - sys.stdlib_module_names
    files = sorted({pair for package in packages for pair in _files(package, origin.file)})
    if not files:
        fix = "install its distribution, or name its file with --plugin-path"
        raise EsperError("E625", f"{registered.title} cannot be compiled", why="its code is not found", fix=fix)
    digest = hashlib.sha256()
    for name, path in files:
        try:
            content = path.read_bytes()
        except OSError as error:
            why = f"its code cannot be read: {error.strerror}: {path}"
            raise EsperError("E626", f"{registered.title} was not compiled", why=why) from error
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    return digest.hexdigest()


def cannot(order: Order, why: str, fix: str) -> EsperError:
    """Return the error that refuses an order."""
    return EsperError("E625", f'blueprint "{order.blueprint}" cannot be compiled', why=why, fix=fix)


def _module(reference: Any) -> str:
    if reference is None:
        return ""
    return reference.partition(":")[0] if isinstance(reference, str) else str(reference.__module__)


def _files(top: str, plugin: str | None) -> Iterator[tuple[str, Path]]:
    """Yield the Python files of a top-level package or module, with names that do not depend on where they are."""
    # A plugin of one file is imported under a name that nobody else can find.
    loaded = getattr(sys.modules.get(top), "__spec__", None)
    found = loaded or find_spec(top)
    if found is None or (found.origin is None and not found.submodule_search_locations):
        found_files = [Path(plugin)] if plugin else []
        yield from ((path.name, path) for path in found_files)
    elif found.submodule_search_locations:
        for folder in map(Path, found.submodule_search_locations):
            yield from (
                (f"{top}/{path.relative_to(folder).as_posix()}", path)
                for path in folder.rglob("*.py")
                if path.is_file()
            )
    elif found.has_location and found.origin is not None:
        yield Path(found.origin).name, Path(found.origin)


def _options(config: Any) -> Mapping[str, Any]:
    return {} if config is None else plain(config)
