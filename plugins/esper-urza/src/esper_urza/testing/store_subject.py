"""A store under test: what its checks look at, and what they do again and again."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from attrs import frozen

from esper_oona.keys import Keyring
from esper_testing.check import CheckFailure, NotApplicable
from esper_testing.subject import Subject, resolved
from esper_testing.usage import Usage
from esper_urza.inputs import ArtifactInputs
from esper_urza.kinds import StoreSpec
from esper_urza.machine import Machine
from esper_urza.signed_store import SignedStore
from esper_urza.store import Kept, Store

#: The size of an artifact of the checks, in bytes, and how many a store under test has room for at least and at most.
SIZE, FEWEST, MOST = 1_000, 10, 40

KEYS = Keyring({"check": b"k" * 32})


def digest_of(name: str) -> str:
    """Return a digest that nobody else uses."""
    return hashlib.sha256(f"{name}-{uuid4()}".encode()).hexdigest()


def kept(name: str, size: int = SIZE) -> Kept:
    """Return something to keep; what is kept under two names differs."""
    return Kept(f"manifest of {name}".encode(), hashlib.shake_256(name.encode()).digest(size))


def inputs(**changes: Any) -> ArtifactInputs:
    """Return the inputs of an artifact that any machine with torch 1 can run."""
    usual: dict[str, Any] = {
        "blueprint": f"check-{uuid4()}",
        "distribution": "esper-blueprint-check",
        "version": "1",
        "code": "0" * 64,
        "options": {"width": 4},
        "layout": "NCHW",
        "shape": (4, 8, 8),
        "causal": False,
        "dtype": "float32",
        "compiler": "check",
        "compiler_version": "1",
        "compiler_options": {},
        "torch": "1",
    }
    return ArtifactInputs(**{**usual, **changes})


def signed_store(store: Store) -> SignedStore:
    """Return the store as programs use it, on a machine that is always the same."""
    return SignedStore(store, KEYS, machine=Machine(cpu=frozenset(), torch="1"))


def demand(true: object, seen: str, cause: str, fix: str) -> None:
    """Fail a check."""
    if not true:
        raise CheckFailure(seen, cause=cause, fix=fix)


@frozen(kw_only=True)
class StoreSubject(Subject[StoreSpec]):
    """What the checks of stores look at. The options name a store that nobody else uses: it is emptied.

    It has room for `FEWEST` to `MOST` artifacts of `SIZE` bytes.
    """

    def build(self) -> Store:
        """Open the store."""
        store: Store = self.factory(self.config)
        return store

    def build_any(self) -> None:
        """Open the store once."""
        self.build().close()

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """Open the store, with nothing in it.

        Raises:
            NotApplicable: with the default options, which may name a store that is in use.
        """
        options = resolved(self.spec.config)
        if options is not None and self.config == options():
            raise NotApplicable("its default options may name a store in use; inherit `StoreSuite`, and give others")
        store = self.build()
        try:
            for entry in store.entries():
                store.remove(entry.digest)
            yield store
        finally:
            store.close()

    @contextmanager
    def usage(self) -> Iterator[Usage]:
        """Save, find, list, remove and collect."""
        things = [kept(f"{index}") for index in range(3)]
        digests = [f"{index:064x}" for index in range(3)]
        with self.opened() as store:

            def use() -> Any:
                removed = [store.put(*pair) for pair in zip(digests, things, strict=True)]
                found = [store.get(digest) for digest in digests]
                there = [(it.digest, it.size) for it in store.entries()]
                gone = [store.remove(digest) for digest in digests]
                return removed, found, there, gone, store.collect()

            yield Usage(use=use, handed=things)
