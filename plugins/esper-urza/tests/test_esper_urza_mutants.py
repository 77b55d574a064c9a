"""Stores that break one promise each; the conformance suite finds every one."""

import threading
from pathlib import Path

import pytest
from attrs import evolve

from esper_core.api import EsperError
from esper_store_local.store import LocalConfig, LocalStore
from esper_testing.check import CheckFailure
from esper_urza.api import Kept, StoreSpec
from esper_urza.testing.conformance import CONFORMANCE
from esper_urza.testing.store_subject import StoreSubject

CHECKS = {check.id: check for check in CONFORMANCE.checks}


class Local(LocalStore):
    def __init__(self, config):
        super().__init__(Path(config.url.removeprefix("local:")), max_bytes=config.max_bytes, ttl_days=9.0)


class Forgets(Local):
    """Artifacts are gone with the process."""

    def close(self):
        for entry in self.entries():
            self.remove(entry.digest)
        super().close()


class KeepsTheFirst(Local):
    def put(self, digest, kept):
        return [] if self.get(digest) else super().put(digest, kept)


class SharesWithoutCounting(Local):
    """A content goes with the first artifact that is removed."""

    def remove(self, digest):
        rows = self._existing().rows("SELECT sha256 FROM artifacts WHERE digest = ?", (digest,))
        found = super().remove(digest)
        for (name,) in rows:
            self._path(name, "").unlink(missing_ok=True)
        return found


class GettingIsNoUse(Local):
    def get(self, digest):
        found = super().get(digest)
        if found:
            del self._existing()._uses[digest]
        return found


class Grows(Local):
    def _evict(self, sql, now, keep):
        return []


class HidesWhatIsRemoved(Local):
    def put(self, digest, kept):
        super().put(digest, kept)
        return []


class RemovesTheYoungest(Local):
    def _evict(self, sql, now, keep):
        sql.execute("UPDATE artifacts SET used_at = -used_at")
        found = super()._evict(sql, now + 0 * 1e9, keep)
        sql.execute("UPDATE artifacts SET used_at = -used_at")
        return found


class TakesEverything(Local):
    def put(self, digest, kept):
        self._max_bytes = max(self._max_bytes, len(kept.content))
        return super().put(digest, kept)


class AlwaysSaysYes(Local):
    def remove(self, digest):
        super().remove(digest)
        return True


class ReplacesInTwoSteps(Local):
    """Another thread sees the new content with the old manifest; it is waited for, since that is all that it does."""

    def __init__(self, config):
        super().__init__(config)
        self.writing, self.between, self.seen = threading.Lock(), threading.Event(), threading.Event()

    def put(self, digest, kept):
        with self.writing:
            before = super().get(digest)
            if before and before.manifest != kept.manifest:
                super().put(digest, Kept(before.manifest, kept.content))
                self.between.set()
                self.seen.wait(60)
            return super().put(digest, kept)

    def get(self, digest):
        between = self.between.is_set()
        found = super().get(digest)
        if between:
            self.seen.set()
        return found


class Repairs(Local):
    """It hands out what was put first, whatever was put later."""

    first: dict = {}

    def put(self, digest, kept):
        self.first.setdefault(digest, kept)
        return super().put(digest, kept)

    def get(self, digest):
        return self.first.get(digest) and super().get(digest) and self.first[digest]


class Cuts(Local):
    def get(self, digest):
        found = super().get(digest)
        return found and evolve(found, content=found.content.rstrip(found.content[-1:]))


MUTANTS = {
    Forgets: "store-keeps",
    Cuts: "store-keeps",
    KeepsTheFirst: "store-replaces",
    SharesWithoutCounting: "store-removes",
    AlwaysSaysYes: "store-removes",
    GettingIsNoUse: "store-entries",
    Grows: "store-bounded",
    HidesWhatIsRemoved: "store-bounded",
    RemovesTheYoungest: "store-bounded",
    TakesEverything: "store-too-large",
    ReplacesInTwoSteps: "store-threads",
    Repairs: "store-signed",
}


def subject(store, tmp_path):
    spec = StoreSpec(name="mutant", summary="", factory=store, schemes={"mutant"})
    return StoreSubject(spec=spec, config=LocalConfig(url=f"local:{tmp_path}", max_bytes=20_000))


@pytest.mark.parametrize(("mutant", "check"), MUTANTS.items(), ids=lambda it: getattr(it, "__name__", it))
def test_a_mutant_is_caught(mutant, check, tmp_path):
    CHECKS[check](subject(Local, tmp_path / "sound"))
    with pytest.raises(CheckFailure) as caught:
        CHECKS[check](subject(mutant, tmp_path / "mutant"))
    # For what it does, not because it cannot do it.
    assert isinstance(caught.value.__cause__, EsperError | None)


def test_every_check_has_a_mutant():
    assert set(MUTANTS.values()) == set(CHECKS)
