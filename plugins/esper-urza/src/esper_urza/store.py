"""What a store is: it keeps bytes by a digest, and believes nothing about them."""

from collections.abc import Sequence
from typing import Protocol

from attrs import frozen


@frozen
class Kept:
    """What a store has under a digest.

    Attributes:
        manifest: what is signed; see `esper_urza.manifest`.
        content: the artifact.
    """

    manifest: bytes
    content: bytes


@frozen
class StoreEntry:
    """What a store knows of an artifact without reading it.

    Attributes:
        digest: of its inputs.
        size: of the content, in bytes.
        saved_at: in seconds since 1970.
        used_at: when it was last saved or got, in seconds since 1970.
    """

    digest: str
    size: int
    saved_at: float
    used_at: float


class Store(Protocol):
    """Keeps artifacts. Stores judge nothing: `SignedStore` verifies whatever comes out of one.

    One store may be used by several threads and processes. Every method raises `EsperError` E621 if the store does not
    answer.
    """

    def put(self, digest: str, kept: Kept) -> Sequence[str]:
        """Keep an artifact, all of it or nothing, in place of an earlier one of the digest.

        To make room, those whose use is longest ago are removed, never the one that is put. Return the digests of what
        was removed. Raises `EsperError` E646 if it is larger than the store may be.
        """

    def get(self, digest: str) -> Kept | None:
        """Return an artifact, and remember that it was used; None if there is none.

        Manifest and content are those of one `put`. Raises `EsperError` E622 if the store sees that it is damaged.
        """

    def entries(self) -> Sequence[StoreEntry]:
        """Return what there is; what was used last comes last."""

    def remove(self, digest: str) -> bool:
        """Remove an artifact. Return whether there was one."""

    def collect(self) -> Sequence[str]:
        """Remove what is too old and what dead processes have left behind; return the digests that are gone."""

    def close(self) -> None:
        """Let go of files and connections. The store cannot be used afterwards."""
