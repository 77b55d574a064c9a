"""The store of policies: every version in the state directory, who its parent is, and which one is the champion."""

import time
from collections.abc import Callable
from pathlib import Path

from attrs import evolve, frozen

from esper_core.leyline.errors import EsperError, did_you_mean
from esper_leyline_proto.conversion import from_bytes, to_bytes
from esper_leyline_proto.learning import PolicyUpdate
from esper_oona.api import Keyring
from esper_runs.run_directory import write_atomically
from esper_simic.database import Database, unusable
from esper_simic.packing import CARD, TENSORS, PackedPolicy, PolicyFacts
from esper_simic.parts import Parts
from esper_simic.updates import (
    Refusal,
    refused,
    verify_content,
    verify_numbers,
    verify_signature,
    verify_validation,
)

#: The folder of policies in the state directory.
POLICIES = "policies"

_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS versions (
    version TEXT PRIMARY KEY, parent TEXT, policy TEXT NOT NULL, policy_update BLOB NOT NULL, added_at REAL NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE IF NOT EXISTS history (
    number INTEGER PRIMARY KEY AUTOINCREMENT, version TEXT NOT NULL, event TEXT NOT NULL, at REAL NOT NULL,
    because TEXT NOT NULL
) STRICT
"""

_PROMOTED, _ROLLED_BACK = "promoted", "rolled back"

#: Says whether the installed plugins can use a policy: returns, or raises what keeps them.
Fits = Callable[[PolicyUpdate, PackedPolicy], None]


@frozen(kw_only=True)
class PolicyVersion:
    """A version in the store.

    Attributes:
        version, parent, policy: as in `PolicyUpdate`.
        update: signed, without the policy.
        added_at: in seconds since 1970.
        state: ``champion``, ``former champion``, ``rolled back``, or ``challenger``.
    """

    version: str
    parent: str | None
    policy: str
    update: PolicyUpdate
    added_at: float
    state: str


@frozen(kw_only=True)
class Promotion:
    """A line of the champions' history: `version` was ``promoted`` or ``rolled back``, `at` seconds since 1970."""

    version: str
    event: str
    at: float
    because: str


class PolicyStore:
    """The versions of policies in a state directory. Several processes may use it.

    Args:
        state: the state directory.
        keys: sign and verify.

    Attributes:
        parts: of updates that are not whole yet.

    Raises:
        EsperError: E635, by every method, if it cannot be used.
    """

    def __init__(self, state: Path, keys: Keyring) -> None:
        self._folder, self._keys = state / POLICIES, keys
        self.parts = Parts(self._folder / "parts")
        self._database = Database(self._folder / "store.sqlite", _SCHEMA, _VERSION)

    def add(self, update: PolicyUpdate, packed: PackedPolicy, fits: Fits) -> bool:
        """Take a version in; it is not the champion by that. Return whether it is a new one.

        Args:
            update: signed.
            packed: the policy that it speaks of.
            fits: says whether the installed plugins can use it.

        Raises:
            RefusedPolicyError: E637 with the reason's name: unsigned, unknown-key, forged, damaged, other-schema,
                not-finite, other-parent if it is known as a child of another version, and what `fits` raises.
        """
        verify_signature(update, self._keys)
        verify_content(update, packed)
        verify_numbers(update, packed)
        for (parent,) in self._database.rows("SELECT parent FROM versions WHERE version = ?", (update.version,)):
            if parent != update.parent:
                why = f"it is known as a child of {parent or 'none'}, and this says {update.parent or 'none'}"
                raise refused(Refusal.OTHER_PARENT, update.version, why)
        fits(update, packed)
        bare = to_bytes(evolve(update, payload=None))
        folder = self._folder_of(update.version)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(folder / TENSORS, packed.tensors)
            write_atomically(folder / CARD, packed.card)
        except OSError as error:
            raise unusable(str(error), folder) from error
        with self._database.transaction() as sql:
            row = (update.version, update.parent, update.policy, bare, time.time())
            return sql.execute("INSERT OR IGNORE INTO versions VALUES (?, ?, ?, ?, ?)", row).rowcount == 1

    def verify_origin(self, update: PolicyUpdate) -> None:
        """Check who made an update. Raises RefusedPolicyError E637: unsigned, unknown-key, forged."""
        verify_signature(update, self._keys)

    def versions(self) -> list[PolicyVersion]:
        """Return all versions, oldest first."""
        rows = self._database.rows(
            "SELECT version, parent, policy, policy_update, added_at FROM versions ORDER BY added_at, version"
        )
        line, history = self._line(), self.history()
        rolled_back = {it.version for it in history if it.event == _ROLLED_BACK} - set(line)
        return [
            PolicyVersion(
                version=version,
                parent=parent,
                policy=policy,
                update=from_bytes(PolicyUpdate, update),
                added_at=added_at,
                state=_state_of(version, line, rolled_back),
            )
            for version, parent, policy, update, added_at in rows
        ]

    def get(self, version: str) -> PolicyVersion:
        """Return a version. Raises EsperError E636 if there is none."""
        known = {it.version: it for it in self.versions()}
        if version not in known:
            fix = did_you_mean(version, known) if known else "add a saved policy: esper policy add runs/NAME/policy"
            raise EsperError("E636", f'there is no policy "{version}" in the store', where=str(self._folder), fix=fix)
        return known[version]

    def champion(self) -> str | None:
        """Return the version that was promoted last and not rolled back; None if there is none."""
        line = self._line()
        return line[-1] if line else None

    def require_champion(self) -> str:
        """Return the champion. Raises EsperError E636 if there is none."""
        if (version := self.champion()) is None:
            fix = "add a saved policy and promote it: esper policy add runs/NAME/policy --promote"
            raise EsperError("E636", "there is no champion", where=str(self._folder), fix=fix)
        return version

    def history(self) -> list[Promotion]:
        """Return every promotion and every rollback, oldest first."""
        rows = self._database.rows("SELECT version, event, at, because FROM history ORDER BY number")
        return [Promotion(version=version, event=event, at=at, because=why) for version, event, at, why in rows]

    def chain(self, version: str) -> list[str]:
        """Return a version and those that it was trained from, newest first."""
        parents = dict(self._database.rows("SELECT version, parent FROM versions"))
        found: list[str] = []
        following: str | None = version
        while following is not None and following in parents and following not in found:
            found.append(following)
            following = parents[following]
        return found

    def card_path(self, version: str) -> Path:
        """Return where the card of a version is; its tensors are beside it."""
        return self._folder_of(version) / CARD

    def read(self, version: str) -> tuple[PolicyUpdate, PackedPolicy, PolicyFacts]:
        """Return a version as it was taken in, verified again.

        Raises:
            EsperError: E636 if there is none.
            RefusedPolicyError: E637, unsigned, unknown-key, forged, not-there, damaged.
        """
        update = self.get(version).update
        verify_signature(update, self._keys)
        try:
            packed = PackedPolicy.read(self._folder_of(version))
        except (OSError, ValueError) as error:
            raise refused(Refusal.NOT_THERE, version, str(error)) from error
        return update, packed, verify_content(update, packed)

    def promote(self, version: str, fits: Fits, *, new_line: bool = False, because: str = "") -> None:
        """Make a version the champion.

        One without a parent becomes the first champion without a validation; with one there, only by `new_line`.

        Args:
            version: in the store.
            fits: says whether the installed plugins can use it.
            new_line: a version without a parent takes the champion's place.
            because: for the history.

        Raises:
            EsperError: E636 if there is no such version.
            RefusedPolicyError: E637 with the reason's name.
        """
        update, packed, facts = self.read(version)
        if update.parent is not None:
            verify_validation(update)
        verify_numbers(update, packed)
        champion = self.champion()
        if champion is not None and champion != version and not (new_line and update.parent is None):
            self._refuse_another_kind(update, facts, champion)
        fits(update, packed)
        with self._database.transaction() as sql:
            champion = self.champion()
            if champion == version:
                return
            self._refuse_another_parent(update, champion, new_line)
            sql.execute(
                "INSERT INTO history (version, event, at, because) VALUES (?, ?, ?, ?)",
                (version, _PROMOTED, time.time(), because),
            )

    def rollback(self, *, because: str = "", only: str | None = None) -> tuple[str, str]:
        """Make the champion before this one the champion again; return the version that was it, and the one that is.

        Args:
            because: for the history.
            only: roll this version back; where another one is the champion by now, do nothing.

        Raises:
            EsperError: E636 if there was no champion before.
        """
        with self._database.transaction() as sql:
            line = self._line()
            if only is not None and line and line[-1] != only:
                return only, line[-1]
            if len(line) < 2:
                fix = "promote another version: esper policy promote VERSION"
                raise EsperError("E636", "there is no champion to go back to", where=str(self._folder), fix=fix)
            sql.execute(
                "INSERT INTO history (version, event, at, because) VALUES (?, ?, ?, ?)",
                (line[-1], _ROLLED_BACK, time.time(), because),
            )
        return line[-1], line[-2]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _line(self) -> list[str]:
        """Every champion whose place has not been given back, oldest first."""
        line: list[str] = []
        for version, event in self._database.rows("SELECT version, event FROM history ORDER BY number"):
            if event == _PROMOTED:
                line.append(version)
            elif line and line[-1] == version:
                line.pop()
        return line

    def _refuse_another_parent(self, update: PolicyUpdate, champion: str | None, new_line: bool) -> None:
        if any(it.version == update.version and it.event == _ROLLED_BACK for it in self.history()):
            raise refused(Refusal.ROLLED_BACK, update.version, "it was the champion, and was rolled back")
        if update.parent == champion or (new_line and update.parent is None):
            return
        why = f"its parent is {update.parent or 'none'}, the champion is {champion or 'none'}"
        raise refused(Refusal.OTHER_PARENT, update.version, why)

    def _refuse_another_kind(self, update: PolicyUpdate, facts: PolicyFacts, champion: str) -> None:
        """What runs with the champion do is decided by a policy of the same kind."""
        self._refuse_another_parent(update, champion, new_line=False)
        _, _, its = self.read(champion)
        if facts.observation != its.observation:
            raise refused(Refusal.OTHER_SCHEMA, update.version, f"the schema of {champion} is another one")
        if (facts.policy, facts.catalogue) != (its.policy, its.catalogue):
            raise refused(Refusal.OTHER_CATALOGUE, update.version, f"the catalogue of {champion} is another one")

    def _folder_of(self, version: str) -> Path:
        return self._folder / "versions" / version


def _state_of(version: str, line: list[str], rolled_back: set[str]) -> str:
    if version in line:
        return "champion" if version == line[-1] else "former champion"
    return "rolled back" if version in rolled_back else "challenger"
