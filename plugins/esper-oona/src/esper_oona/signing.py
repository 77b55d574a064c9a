"""Signing envelopes, and judging those that arrive."""

import hmac
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter

from attrs import fields_dict, frozen

from esper_leyline_proto.envelope import Envelope, signed_bytes
from esper_oona.keys import Keyring
from esper_oona.messages import LIFETIMES


class Refusal(StrEnum):
    """Why a message is not handled."""

    UNREADABLE = "unreadable"
    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown-key"
    FORGED = "forged"
    STALE = "stale"
    FROM_THE_FUTURE = "from-the-future"
    REPLAYED = "replayed"


@frozen
class Signer:
    """Signs and verifies with HMAC-SHA256 (RFC 2104, FIPS 180-4).

    A shared secret protects against those who do not have it: they cannot make, change or repeat a message. It does not
    tell apart those who have it, and hides nothing.

    Attributes:
        keys: the secrets; None signs nothing and accepts what is not signed.
        skew_seconds: by how much the clock of a sender may be ahead or behind.
    """

    keys: Keyring | None
    skew_seconds: float = 30.0

    @property
    def key_id(self) -> str | None:
        """The name of the key that signs; None: nothing is signed."""
        return None if self.keys is None else self.keys.signing[0]

    def sign(self, envelope: Envelope) -> Envelope:
        """Return the envelope with a signature."""
        if self.keys is None:
            return envelope
        name, secret = self.keys.signing
        named = envelope if envelope.key_id == name else _changed(envelope, key_id=name)
        return _changed(named, signature=_signature(secret, named))

    def refusal(self, envelope: Envelope, now: float) -> Refusal | None:
        """Say why an envelope must not be handled at this time, or None; replays are judged by `Replays`."""
        return self._forgery(envelope) or self._age(envelope, now)

    def _forgery(self, envelope: Envelope) -> Refusal | None:
        if self.keys is None:
            return None
        if envelope.key_id is None or envelope.signature is None:
            return Refusal.UNSIGNED
        secret = self.keys.secrets.get(envelope.key_id)
        if secret is None:
            return Refusal.UNKNOWN_KEY
        genuine = hmac.compare_digest(_signature(secret, envelope), envelope.signature)
        return None if genuine else Refusal.FORGED

    def _age(self, envelope: Envelope, now: float) -> Refusal | None:
        if envelope.issued_at.timestamp() > now + self.skew_seconds:
            return Refusal.FROM_THE_FUTURE
        return Refusal.STALE if now > expires_at(envelope) + self.skew_seconds else None


def expires_at(envelope: Envelope) -> float:
    """Return until when an envelope may be handled, in seconds since 1970: no longer than its type is worth reading."""
    latest = envelope.issued_at.timestamp() + LIFETIMES[envelope.type]
    return latest if envelope.expires_at is None else min(latest, envelope.expires_at.timestamp())


def _signature(secret: bytes, envelope: Envelope) -> bytes:
    found = _begun(secret).copy()
    found.update(signed_bytes(envelope))
    return found.digest()


@lru_cache(maxsize=16)
def _begun(secret: bytes) -> hmac.HMAC:
    """To take a key in costs more than to sign a short message with it."""
    return hmac.new(secret, digestmod="sha256")


_FIELDS = tuple(fields_dict(Envelope))
_values = attrgetter(*_FIELDS)


def _changed(envelope: Envelope, **changes: object) -> Envelope:
    """As `attrs.evolve`, which looks at each field again for each message and takes four times as long."""
    values: dict[str, object] = dict(zip(_FIELDS, _values(envelope), strict=True))
    return Envelope(**values | changes)  # type: ignore[arg-type]
