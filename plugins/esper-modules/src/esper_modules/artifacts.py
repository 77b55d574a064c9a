"""The artifacts of a run's seeds: what each needs, looked up, verified, made where it is missing, and loaded."""

import time
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import cached_property
from typing import Any

import torch
from attrs import evolve, frozen
from torch import nn

from esper_core.kasmina.seed_factory import SeedFactory
from esper_core.leyline.errors import EsperError, summary
from esper_core.leyline.sites import Site
from esper_core.leyline.specs import BlueprintSpec, Capability
from esper_core.plugins.records import Registered
from esper_core.plugins.registry import Registry
from esper_core.plugins.resolve import build_config, require_available, resolve
from esper_modules.errors import not_delivered
from esper_tezzeret.apart import Workshop
from esper_tezzeret.compiler import Compiler, LoadJob
from esper_tezzeret.inputs import cannot, code_digest, inputs_of
from esper_tezzeret.kinds import CompilerSpec
from esper_tezzeret.making import not_loaded, not_made
from esper_tezzeret.orders import DTYPES, Order
from esper_urza.inputs import ArtifactInputs
from esper_urza.signed_store import Artifact, SignedStore


@frozen(kw_only=True)
class Wanted:
    """What a seed needs: the order, and what its artifact is made from."""

    order: Order
    inputs: ArtifactInputs


@frozen(kw_only=True)
class Found:
    """An artifact that was verified.

    Attributes:
        artifact: its bytes and its manifest.
        way: ``store``, ``compiled`` or ``prefetch``; see `KernelReady`.
        replaced: why what the store had before was refused.
        lookup_seconds: of finding and verifying it.
        prewarm_p50_ms, prewarm_p95_ms: loading and a first call, as a worker has said.
    """

    artifact: Artifact
    way: str
    replaced: str = ""
    lookup_seconds: float = 0.0
    prewarm_p50_ms: float | None = None
    prewarm_p95_ms: float | None = None


@frozen(kw_only=True)
class _LookUp:
    artifact: Artifact | None
    refused: str
    seconds: float


class SeedArtifacts:
    """The artifacts of one process's seeds. Store and compiler are opened when they are needed first.

    Args:
        open_store: opens the store.
        registry: the run's components.
        compiler: the name of the compiler.
        workshop: how artifacts are made that the store does not have.
    """

    def __init__(
        self, open_store: Callable[[], SignedStore], registry: Registry, compiler: str, workshop: Workshop
    ) -> None:
        self._open_store = open_store
        self._registry = registry
        self._compiler_name = compiler
        self._workshop = workshop
        #: The code of each blueprint as this process first saw it: what it has imported does not change any more.
        self._codes: dict[str, str] = {}
        self._failed: dict[str, EsperError] = {}

    def check(self) -> None:
        """Check that store and compiler can be used, before anything is trained.

        Raises:
            EsperError: E161 if the compiler cannot run here, E202 if what it makes cannot be trained, E612 and E621 for
                the store.
        """
        registered = self.compiler
        require_available(registered)
        assert isinstance(registered.spec, CompilerSpec)
        if not registered.spec.trains:
            why = f"what {registered.title} makes cannot be trained"
            raise EsperError("E202", '"compiler.name" is not possible here', why=why, fix="--compiler export")
        _ = self.store

    def learn_code(self, names: Iterable[str]) -> None:
        """Remember the code of blueprints, before it can be edited behind the back of this process."""
        for name in names:
            if name not in self._codes:
                self._codes[name] = _code(self._registry.get(BlueprintSpec.kind, name))

    @property
    def compiler(self) -> Registered:
        """The compiler."""
        return self._registry.get(CompilerSpec.kind, self._compiler_name, where="compiler.name")

    @cached_property
    def store(self) -> SignedStore:
        """The open store. Raises EsperError E612 or E621 if it cannot be opened."""
        return self._open_store()

    def wanted(self, seed_factory: SeedFactory, site: Site, dtype: torch.dtype) -> Wanted:
        """Return what a seed needs.

        Raises:
            EsperError: E625 if there can be no artifact for it, E626 if its code is not what this process runs.
        """
        registered = self._registry.get(BlueprintSpec.kind, seed_factory.entry.name)
        named = str(dtype).removeprefix("torch.")
        order = Order(
            blueprint=registered.id,
            options=dict(seed_factory.entry.options),
            layout=site.layout,
            shape=site.sample_shape,
            causal=site.causal,
            dtype=named if named in DTYPES else DTYPES[0],
            compilers=(self.compiler.spec.name,),
        )
        if named not in DTYPES:
            raise cannot(order, f"its activations are {named}", f"artifacts are for {' and '.join(DTYPES)}")
        if seed_factory.takes_mask and site.mask is not None:
            raise cannot(order, "it is told what is padding, and artifacts are not", "it is built in process")
        declared, taken = registered.spec.capabilities, self.compiler.spec.capabilities
        if Capability.NO_EXPORT in declared and Capability.NO_EXPORT not in taken:
            raise cannot(order, "it declares that it cannot be exported", "--compiler eager")
        inputs = inputs_of(order, self._registry, self.compiler)
        if inputs.code != self._codes.setdefault(seed_factory.entry.name, inputs.code):
            raise not_made(order, "its code was changed since the run began")
        return Wanted(order=order, inputs=inputs)

    def find(self, wanted: Wanted, *, sha256: str | None = None) -> Found:
        """Return the artifact that the store has.

        Args:
            wanted: what is needed.
            sha256: what the content must be; None: whatever was signed.

        Raises:
            EsperError: E621 to E624 as `SignedStore.find`, E631 if it has none, or another one.
        """
        begun = time.monotonic()
        artifact = self.store.find(wanted.inputs)
        if artifact is None:
            raise not_delivered("the store does not have it")
        if sha256 is not None and artifact.manifest.sha256 != sha256:
            raise not_delivered("the store has another artifact than the one that was said to be ready")
        return Found(artifact=artifact, way="store", lookup_seconds=time.monotonic() - begun)

    def obtain(self, wanted: Wanted, timeout: float) -> Found:
        """Return the artifact that the store has; one that is missing, or refused, is made within `timeout` seconds.

        What could not be made once is not tried again by this process.

        Raises:
            EsperError: E621 if the store does not answer, E625 to E627 if it cannot be made.
        """
        looked = self._look_up(wanted)
        if looked.artifact is not None:
            return Found(artifact=looked.artifact, way="store", lookup_seconds=looked.seconds)
        digest = wanted.inputs.digest
        if digest in self._failed:
            raise self._failed[digest]
        try:
            self._make(wanted, timeout)
        except EsperError as error:
            if error.code != "E621":
                self._failed[digest] = error
            raise
        return evolve(self.find(wanted), way="compiled", replaced=looked.refused)

    def load(self, wanted: Wanted, artifact: Artifact, module: nn.Module) -> nn.Module:
        """Return the module of an artifact with the weights of `module`, as its blueprint has built it.

        Raises:
            EsperError: E628 if it cannot be loaded, or does not have the parameters of `module`.
        """
        tool = self._tool
        job = LoadJob(blueprint=wanted.order.blueprint, content=artifact.content, module=deepcopy(module))
        try:
            loaded = tool.load(job)
            _require_same_parameters(loaded, module)
            loaded.load_state_dict(module.state_dict())
        except EsperError:
            raise
        except (Exception, SystemExit) as error:  # the code of compilers, which are anybody's
            raise not_loaded(summary(error)) from error
        return loaded.train(module.training)

    @cached_property
    def _tool(self) -> Compiler:
        tool: Compiler = resolve(self.compiler)(build_config(self.compiler, {}))
        return tool

    def _look_up(self, wanted: Wanted) -> _LookUp:
        begun, refused, artifact = time.monotonic(), "", None
        try:
            artifact = self.store.find(wanted.inputs)
        except EsperError as error:
            if error.code == "E621":
                raise
            refused = f"{error.code}: {error.why or error.what}"
        return _LookUp(artifact=artifact, refused=refused, seconds=time.monotonic() - begun)

    def _make(self, wanted: Wanted, timeout: float) -> None:
        workshop = evolve(self._workshop, timeout=timeout)
        product = workshop.make(wanted.order, self.compiler.spec.name)
        if inputs_of(wanted.order, self._registry, self.compiler) != wanted.inputs:
            raise not_made(wanted.order, "its code was changed while it was compiled")
        self.store.save(wanted.inputs, product.content, product.facts)


def _code(registered: Registered) -> str:
    try:
        return code_digest(registered)
    except EsperError:  # said of each seed that wants an artifact of it
        return ""


def _require_same_parameters(loaded: nn.Module, module: nn.Module) -> None:
    """The order of parameters is that of the optimizer's group, and of the sums over them."""
    wanted, found = _parameters(module), _parameters(loaded)
    if wanted != found:
        raise not_loaded("its parameters are not those of the seed, in the same order")


def _parameters(module: nn.Module) -> list[tuple[Any, ...]]:
    return [(name, it.shape, it.dtype, it.requires_grad) for name, it in module.named_parameters()]
