"""A store as programs use it: what is saved is signed, what is found is verified."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen

from esper_core.leyline.errors import EsperError
from esper_oona.keys import Keyring
from esper_oona.metrics import Metrics
from esper_urza.inputs import ArtifactInputs
from esper_urza.machine import Machine, this_machine
from esper_urza.manifest import Manifest, damaged, manifest_of, opened, signed, unfit
from esper_urza.store import Kept, Store


@frozen
class Artifact:
    """An artifact that was verified: these very bytes, which nobody can change any more."""

    manifest: Manifest
    content: bytes


class SignedStore:
    """Signs and verifies. Whatever is behind it, a damaged or foreign artifact is refused before it is loaded.

    Every artifact is verified whenever it is found, and what is verified is what is handed out: bytes in memory, not a
    file that could change in between. Several threads may use it.

    Args:
        store: where artifacts are kept.
        keys: the secrets that sign and verify.
        machine: what artifacts have to run on.
        find_keys: returns the secrets where there were none yet; told True, it makes one.

    Attributes:
        metrics: ``hits``, ``misses``, ``saves``, ``evictions``, ``refusals`` and ``refusals_E622`` and so on,
            and the histograms ``lookup_seconds`` (look-up and verification) and ``save_seconds``.
    """

    def __init__(
        self,
        store: Store,
        keys: Keyring,
        *,
        machine: Machine | None = None,
        find_keys: Callable[[bool], Keyring] | None = None,
    ) -> None:
        self.store = store
        self.metrics = Metrics()
        self._keys = keys
        self._find_keys = find_keys
        self._machine = machine or this_machine()

    def save(self, inputs: ArtifactInputs, content: bytes, facts: Mapping[str, Any] | None = None) -> Manifest:
        """Sign and keep an artifact, in place of an earlier one of the same inputs.

        Args:
            inputs: what it was made from.
            content: the artifact.
            facts: what was measured when it was made: plain data, every number finite.

        Raises:
            EsperError: E621 if the store does not answer, E646 if the artifact is larger than the store may be.
        """
        begun = time.monotonic()
        manifest = manifest_of(inputs, content, made_at=time.time(), facts=facts or {})
        removed = self.store.put(inputs.digest, Kept(signed(manifest, self._keyring(make=True)), content))
        self.metrics.count("saves")
        self.metrics.count("evictions", len(removed))
        self.metrics.time("save_seconds", time.monotonic() - begun)
        return manifest

    def find(self, inputs: ArtifactInputs) -> Artifact | None:
        """Return the verified artifact of these inputs; None if there is none.

        Raises:
            EsperError: as `read`.
        """
        return self.read(inputs.digest)

    def read(self, digest: str) -> Artifact | None:
        """Return the verified artifact of a digest; None if there is none.

        Raises:
            EsperError: E621 if the store does not answer, E622 if the artifact is damaged or another one, E623 if it
                was not signed with one of our keys, E624 if it was made for another machine or another torch.
        """
        begun = time.monotonic()
        try:
            kept = self.store.get(digest)
            found = None if kept is None else self._verified(digest, kept)
        except EsperError as error:
            if error.code != "E621":
                self.metrics.count("refusals")
                self.metrics.count(f"refusals_{error.code}")
            raise
        self.metrics.count("misses" if found is None else "hits")
        self.metrics.time("lookup_seconds", time.monotonic() - begun)
        return found

    def verify(self) -> Sequence[tuple[str, EsperError | None]]:
        """Verify everything there is: each digest, and why its artifact is refused."""
        found: list[tuple[str, EsperError | None]] = []
        for entry in self.store.entries():
            try:
                if self.read(entry.digest) is not None:
                    found.append((entry.digest, None))
            except EsperError as error:
                if error.code == "E621":
                    raise
                found.append((entry.digest, error))
        return found

    def _verified(self, digest: str, kept: Kept) -> Artifact:
        where = f"artifact {digest[:12]}"
        manifest = opened(kept.manifest, self._keyring(make=False), where=where)
        if len(kept.content) != manifest.size:
            raise damaged(f"it has {len(kept.content):,} bytes, and was saved with {manifest.size:,}", where=where)
        if hashlib.sha256(kept.content).hexdigest() != manifest.sha256:
            raise damaged("its bytes are not those that were saved", where=where)
        if manifest.inputs.digest != digest:
            raise damaged("another artifact stands in its place", where=where)
        self._check_machine(manifest.inputs, where)
        return Artifact(manifest, kept.content)

    def _keyring(self, *, make: bool) -> Keyring:
        if not self._keys.secrets and self._find_keys is not None:
            self._keys = self._find_keys(make)
        return self._keys

    def _check_machine(self, inputs: ArtifactInputs, where: str) -> None:
        if missing := set(inputs.cpu) - self._machine.cpu:
            raise unfit(f"it needs a CPU with {', '.join(sorted(missing))}", where=where)
        if inputs.torch != self._machine.torch:
            raise unfit(f"it needs torch {inputs.torch}, and here is {self._machine.torch or 'none'}", where=where)
