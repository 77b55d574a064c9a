"""Taking policy updates from a bus: each is verified, and refused by name, before it is in the store."""

from collections.abc import Callable
from contextlib import suppress

from attrs import evolve

from esper_core.leyline.errors import EsperError
from esper_leyline_proto.envelope import Envelope
from esper_leyline_proto.learning import PolicyUpdate
from esper_oona.api import Draft
from esper_simic.packing import PackedPolicy
from esper_simic.policy_store import Fits, PolicyStore
from esper_simic.telemetry import promoted_draft, refused_draft
from esper_simic.updates import Refusal, RefusedPolicyError, refused, verify_validation


class UpdateIntake:
    """Takes policy updates into the store of policies.

    Args:
        store: where they are kept.
        fits: says whether the installed plugins can use a policy.
        tell: is given what is to be published about each.
        promote: make what passes the champion at once.
    """

    def __init__(self, store: PolicyStore, fits: Fits, tell: Callable[[Draft], None], *, promote: bool) -> None:
        self._store, self._fits, self._tell, self._promote = store, fits, tell, promote

    def take(self, update: PolicyUpdate, envelope: Envelope | None = None) -> RefusedPolicyError | None:
        """Keep an update or a part of one, or say by name why not. Return the refusal, which was told; else None.

        Raises:
            EsperError: E635 if the store cannot be used.
        """
        try:
            self._take(update)
        except RefusedPolicyError as error:
            self._tell(refused_draft(update.version, error))
            return error
        return None

    def _take(self, update: PolicyUpdate) -> None:
        self._store.verify_origin(update)
        whole = update
        if update.parts is not None:
            if (payload := self._store.parts.put(update)) is None:
                return
            whole = evolve(update, payload=payload, part=None, parts=None)
            # Whatever becomes of it: what is damaged comes again whole, or not at all.
            self._store.parts.forget(update)
        self._take_whole(whole)

    def _take_whole(self, update: PolicyUpdate) -> None:
        packed = self._policy_of(update)
        # Nothing is kept that could not become the champion.
        verify_validation(update)
        self._store.add(update, packed, self._fits)
        if self._promote and (before := self._store.champion()) != update.version:
            self._store.promote(update.version, self._fits, because="it was received and has passed")
            self._tell(promoted_draft(update.version, before))

    def _policy_of(self, update: PolicyUpdate) -> PackedPolicy:
        """What is not in the message is in the store already, if the store is that of the process that made it."""
        if update.payload is not None:
            try:
                return PackedPolicy.unpacked(update.payload)
            except ValueError as error:
                raise refused(Refusal.DAMAGED, update.version, str(error)) from error
        with suppress(EsperError):
            return self._store.read(update.version)[1]
        raise refused(Refusal.NOT_THERE, update.version, "it is not in the message, and not in the store")
