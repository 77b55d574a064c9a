"""A store in a folder: contents are files named by their SHA-256, and a catalogue says what they are of."""

import errno
import hashlib
import os
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import field, frozen, validators

from esper_core.api import EsperError
from esper_oona.api import embedded_address, state_path
from esper_runs.reading import is_own_folder, read_regular, refuse_links
from esper_store_local.catalogue import Catalogue, Journal, unusable
from esper_store_local.mounts import network_file_system
from esper_urza.api import DIGEST, Kept, Store, StoreEntry, damaged

_DAY = 86_400.0

#: A row can be replaced while its file is read; after so many times something else is wrong.
_TRIES = 5

_CATALOGUE = "catalogue.sqlite"


@frozen(kw_only=True)
class LocalConfig:
    """Options of `local`.

    Attributes:
        url: ``local:PATH``; ``local:`` is ``store`` in the state directory.
        max_bytes: how large all artifacts together may be; those whose use is longest ago make room.
        ttl_days: an artifact that was not used for so many days is removed.
        journal: ``wal`` for a folder on a disk of this machine; ``delete`` for one that several machines share.
    """

    url: str = field(default="local:", validator=embedded_address("local", "artifacts"))
    max_bytes: int = field(default=2 << 30, validator=validators.gt(0))
    ttl_days: float = field(
        default=90.0, converter=float, validator=validators.gt(0), metadata={"esper_unseen": "time"}
    )
    journal: Journal = field(
        default="wal", validator=validators.in_(("wal", "delete")), metadata={"esper_unseen": "durability"}
    )


def local_store(config: LocalConfig) -> Store:
    """Open the store. Its folder is made when something is saved for the first time; looking makes nothing.

    Raises:
        EsperError: E621 if the folder cannot be used.
    """
    path = config.url.removeprefix("local:")
    folder = Path(path) if path else state_path() / "store"
    return LocalStore(folder, max_bytes=config.max_bytes, ttl_days=config.ttl_days, journal=config.journal)


class LocalStore:
    """The store `local`: see `esper_urza.api.Store`.

    A save is one transaction. Files are written and removed only by a process that holds the catalogue's lock for
    writing, so a file that no row names can be removed at any time.

    Args:
        folder: where it is.
        max_bytes: how large all artifacts together may be.
        ttl_days: an artifact that was not used for so many days is removed.
        journal: how SQLite keeps a transaction.
        clock: says the time, in seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        ttl_days: float,
        journal: Journal = "wal",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = _usable(folder, journal)
        self._max_bytes = max_bytes
        self._ttl_seconds = ttl_days * _DAY
        self._clock = clock
        self._journal: Journal = journal
        self._opening = threading.Lock()
        self._opened: Catalogue | None = None
        self._existing()

    def put(self, digest: str, kept: Kept) -> Sequence[str]:
        """Keep an artifact, in one transaction; return the digests that made room."""
        size = len(kept.content)
        if size > self._max_bytes:
            why = f"it has {size:,} bytes, and the store at most {self._max_bytes:,}"
            fix = "raise max_bytes in the address of the store"
            raise EsperError("E646", "an artifact is too large for the store", where=digest[:12], why=why, fix=fix)
        sha256 = hashlib.sha256(kept.content).hexdigest()
        with self._made().transaction() as sql:
            now = self._clock()
            before = sql.execute("SELECT sha256 FROM artifacts WHERE digest = ?", (digest,)).fetchall()
            self._write(sha256, kept.content)
            sql.execute(
                "INSERT OR REPLACE INTO artifacts VALUES (?, ?, ?, ?, ?, ?)",
                (digest, sha256, size, kept.manifest, now, now),
            )
            removed = self._evict(sql, now, keep=digest)
        self._unlink([*(name for (name,) in before), *(name for _, name in removed)])
        return [gone for gone, _ in removed]

    def get(self, digest: str) -> Kept | None:
        """Return an artifact, and remember that it was used."""
        query = "SELECT manifest, sha256, size FROM artifacts WHERE digest = ?"
        if (catalogue := self._existing()) is None:
            return None
        before: tuple[object, ...] | None = None
        for _ in range(_TRIES):
            rows = catalogue.rows(query, (digest,))
            if not rows:
                return None
            where = f"artifact {digest[:12]}"
            if rows[0] == before:
                raise damaged("its file is missing", where=where)
            before = rows[0]
            manifest, sha256, size = rows[0]
            if not (isinstance(manifest, bytes) and isinstance(size, int)):
                raise damaged("its row in the catalogue cannot be read", where=where)
            try:
                content = read_regular(self._path(str(sha256), where), inside=self._folder, largest=size)
            except FileNotFoundError:
                # Somebody may have saved another one in the meantime.
                continue
            except OSError as error:
                raise damaged(f"its file is refused: {error.strerror}", where=where) from error
            catalogue.used(digest, self._clock())
            return Kept(manifest, content)
        raise damaged("it is replaced faster than it can be read", where=f"artifact {digest[:12]}")

    def entries(self) -> Sequence[StoreEntry]:
        """Return what there is; what was used last comes last."""
        if (catalogue := self._existing()) is None:
            return []
        catalogue.note()
        query = "SELECT digest, size, saved_at, used_at FROM artifacts ORDER BY used_at, digest"
        return [StoreEntry(*row) for row in catalogue.rows(query)]

    def remove(self, digest: str) -> bool:
        """Remove an artifact."""
        if (catalogue := self._existing()) is None:
            return False
        with catalogue.transaction() as sql:
            gone = sql.execute("DELETE FROM artifacts WHERE digest = ? RETURNING sha256", (digest,)).fetchall()
        self._unlink(name for (name,) in gone)
        return bool(gone)

    def collect(self) -> Sequence[str]:
        """Remove what is too old, what is too much, and files that belong to nothing."""
        if (catalogue := self._existing()) is None:
            return []
        with catalogue.transaction() as sql:
            removed = self._evict(sql, self._clock(), keep=None)
        with catalogue.transaction() as sql:
            named = {name for (name,) in sql.execute("SELECT sha256 FROM artifacts")}
            for path in self._files():
                if path.name not in named:
                    path.unlink()
        return [gone for gone, _ in removed]

    def close(self) -> None:
        """Close the catalogue."""
        if self._opened is not None:
            self._opened.close()

    def _existing(self) -> Catalogue | None:
        """Return the catalogue; None if nothing was ever saved here, and nothing is made then."""
        with self._opening:
            path = self._folder / _CATALOGUE
            if self._opened is not None and not self._opened.is_at(path):
                # Somebody removed the store: what is kept in the file that is gone, nobody else would find.
                self._opened.forget()
                self._opened = None
            if self._opened is None and os.path.lexists(path):
                self._opened = Catalogue(path, self._journal)
            return self._opened

    def _made(self) -> Catalogue:
        """Return the catalogue, in a folder that is made if need be, for its owner only."""
        if (found := self._existing()) is not None:
            return found
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise unusable(str(error.strerror), self._folder) from error
        with self._opening:
            self._opened = self._opened or Catalogue(self._folder / _CATALOGUE, self._journal)
            return self._opened

    def _evict(self, sql: sqlite3.Connection, now: float, keep: str | None) -> list[tuple[str, str]]:
        """Remove the rows that are too old, then those used longest ago; return digests and names of files."""
        rows = sql.execute("SELECT digest, sha256, size, used_at FROM artifacts ORDER BY used_at, digest").fetchall()
        total = sum(size for _, _, size, _ in rows)
        removed: list[tuple[str, str]] = []
        for digest, name, size, used_at in rows:
            if digest != keep and (used_at < now - self._ttl_seconds or total > self._max_bytes):
                removed.append((digest, name))
                total -= size
        sql.executemany("DELETE FROM artifacts WHERE digest = ?", [(digest,) for digest, _ in removed])
        return removed

    def _files(self) -> Iterator[Path]:
        """Yield all that lies where contents do. No link is followed: what it leads to is somebody else's."""
        objects = self._folder / "objects"
        folders = objects.iterdir() if is_own_folder(objects) else ()
        for folder in filter(is_own_folder, folders):
            yield from (path for path in folder.iterdir() if not is_own_folder(path))

    def _path(self, sha256: str, where: str) -> Path:
        if not re.fullmatch(DIGEST, sha256):
            raise damaged("its path leaves the store", where=where)
        return self._folder / "objects" / sha256[:2] / sha256

    def _write(self, sha256: str, content: bytes) -> None:
        path = self._path(sha256, "")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_links(self._folder, path.parent)
        new = path.with_name(f".{secrets.token_hex(8)}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(new, path)
        except BaseException:
            # Half of it would take room where there is none.
            new.unlink(missing_ok=True)
            raise

    def _unlink(self, names: Iterable[str]) -> None:
        """Remove files, under the lock for writing, unless a row names them."""
        candidates = {name for name in names if re.fullmatch(DIGEST, name)}
        if not candidates:
            return
        with self._made().transaction() as sql:
            for name in candidates:
                if sql.execute("SELECT 1 FROM artifacts WHERE sha256 = ?", (name,)).fetchone() is None:
                    with suppress(FileNotFoundError):
                        self._path(name, "").unlink()


def _usable(folder: Path, journal: Journal) -> Path:
    """Return the folder without links in it.

    Raises:
        EsperError: E621 if it cannot be used, or could not be made; it need not be there.
    """
    try:
        found = folder.resolve()
        there = found
        while not there.exists():
            there = there.parent
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        # SQLite too writes into the folder of a file that it only reads.
        used = there != found or os.path.lexists(found / _CATALOGUE)
        if used and not os.access(there, os.W_OK | os.X_OK):
            mounted = errno.EROFS if os.statvfs(there).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(mounted, f"{os.strerror(mounted)}, and what was used is noted there")
    except OSError as error:
        raise unusable(str(error.strerror), folder) from error
    kind = network_file_system(there)
    if journal == "wal" and kind is not None:
        why = f"it is on the network file system {kind}, on which its journal is not safe"
        raise unusable(why, folder, fix="add ?journal=delete to the address")
    return found
