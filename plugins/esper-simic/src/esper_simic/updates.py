"""Policy updates: made, signed, and judged; each reason for a refusal has a name."""

import hashlib
import hmac
import re
from datetime import UTC, datetime
from enum import StrEnum
from uuid import uuid4

from attrs import evolve

from esper_core.leyline.errors import EsperError
from esper_leyline_proto.learning import PolicyUpdate, PolicyValidation
from esper_leyline_proto.signing import signed_record_bytes
from esper_oona.api import LARGEST_BYTES, Keyring
from esper_simic.packing import PackedPolicy, PolicyFacts, not_finite

#: What a message holds besides the policy in it fits into this.
_ROOM = 16 * 1024

#: A policy with more bytes is not sent: who shares the store of the state directory has it.
LARGEST_POLICY = 64 * 1024 * 1024

#: A version is also the name of a folder.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")

#: Where the policy of an update is that is too large for a message: in the store of the state directory.
_REFERENCE = "policies/"


class Refusal(StrEnum):
    """Why a policy is not used."""

    UNSIGNED = "unsigned"
    UNKNOWN_KEY = "unknown-key"
    FORGED = "forged"
    NOT_THERE = "not-there"
    DAMAGED = "damaged"
    NOT_FINITE = "not-finite"
    OTHER_PARENT = "other-parent"
    OTHER_SCHEMA = "other-schema"
    OTHER_CATALOGUE = "other-catalogue"
    OTHER_SHAPES = "other-shapes"
    NOT_VALIDATED = "not-validated"
    FAILED_VALIDATION = "failed-validation"
    ROLLED_BACK = "rolled-back"


_FIXES = {
    Refusal.UNSIGNED: "let `esper simic` make the update, or add a policy of your own: esper policy add PATH",
    Refusal.UNKNOWN_KEY: "give both sides the same keys (the file `keys` of the state directory, or ESPER_KEYS)",
    Refusal.FORGED: "do not use it; look for who has published it, and replace the keys: esper bus rotate",
    Refusal.NOT_THERE: "use the state directory of the process that has made it",
    Refusal.DAMAGED: "bring the files back as they were written, or train another policy",
    Refusal.NOT_FINITE: "train another policy",
    Refusal.OTHER_PARENT: "let `esper simic` learn from reports of the present champion",
    Refusal.OTHER_SCHEMA: "use it with the Esper that it was trained with, or train another policy",
    Refusal.OTHER_CATALOGUE: "use it with the blueprints that it was trained with, or train another policy",
    Refusal.OTHER_SHAPES: "use it with the options that it was trained with, or train another policy",
    Refusal.NOT_VALIDATED: "let `esper simic` validate it",
    Refusal.FAILED_VALIDATION: "keep the champion",
    Refusal.ROLLED_BACK: "train another one",
}


class RefusedPolicyError(EsperError):
    """E637, with the name of the reason.

    Attributes:
        refusal: the reason; None where the error was sent from another process.
    """

    refusal: Refusal | None = None


def refused(refusal: Refusal, version: str, why: str) -> RefusedPolicyError:
    """Return the error that says why a policy is not used."""
    error = RefusedPolicyError("E637", f"the policy {version} is refused: {refusal}", why=why, fix=_FIXES[refusal])
    error.refusal = refusal
    return error


def version_name(policy: str, generation: int, digest: str) -> str:
    """Return the name of a version: the policy's, how many versions there are behind it, and its tensors' digest."""
    return f"{policy.rpartition('/')[2]}-{generation}-{digest[:8]}"


def generation_of(version: str) -> int:
    """Return how many versions there are behind one; 0 for a name that does not say."""
    number = version.rsplit("-", 2)[1:2]
    return int(number[0]) if number and number[0].isdecimal() else 0


def make_update(
    packed: PackedPolicy, parent: str | None, validation: PolicyValidation | None, keys: Keyring
) -> PolicyUpdate:
    """Return a signed update, without the policy itself.

    Args:
        packed: the policy.
        parent: the version that it was trained from; None: of none.
        validation: how it did; None: it was not validated.
        keys: the first one signs.

    Raises:
        ValueError: if its card is none.
    """
    facts = packed.facts()
    version = version_name(facts.policy, 1 if parent is None else generation_of(parent) + 1, facts.digest)
    update = PolicyUpdate(
        id=f"{version}-{uuid4().hex[:8]}",
        policy=facts.policy,
        version=version,
        parent=parent,
        issued_at=datetime.now(UTC),
        observation_schema=facts.observation,
        artifact_ref=f"{_REFERENCE}{version}",
        size=packed.size,
        checksum=packed.checksum,
        validation=validation,
    )
    return sign(update, keys)


def sign(update: PolicyUpdate, keys: Keyring) -> PolicyUpdate:
    """Return an update with a signature (HMAC-SHA256, RFC 2104). It covers the checksum, not the policy's bytes."""
    name, secret = keys.signing
    named = evolve(update, key_id=name, signature=None)
    return evolve(named, signature=_signature(named, secret))


def in_messages(update: PolicyUpdate, packed: PackedPolicy) -> tuple[PolicyUpdate, ...]:
    """Return an update as it is published: with the policy, in as many parts as its size asks for.

    The signature holds for each of them. A policy above `LARGEST_POLICY` bytes is not in them at all.
    """
    if packed.size > LARGEST_POLICY:
        return (update,)
    data, room = packed.packed, LARGEST_BYTES - _ROOM
    pieces = [data[at : at + room] for at in range(0, len(data), room)]
    if len(pieces) == 1:
        return (evolve(update, payload=data),)
    return tuple(evolve(update, payload=it, part=at, parts=len(pieces)) for at, it in enumerate(pieces))


def verify_signature(update: PolicyUpdate, keys: Keyring) -> None:
    """Check who made an update. Raises RefusedPolicyError: unsigned, unknown-key, forged."""
    if update.key_id is None or update.signature is None:
        raise refused(Refusal.UNSIGNED, update.version, "nobody has signed it")
    secret = keys.secrets.get(update.key_id)
    if secret is None:
        raise refused(Refusal.UNKNOWN_KEY, update.version, f'it was signed with the key "{update.key_id}"')
    if not hmac.compare_digest(_signature(update, secret), update.signature):
        raise refused(Refusal.FORGED, update.version, "its signature is not that of its content")


def verify_content(update: PolicyUpdate, packed: PackedPolicy) -> PolicyFacts:
    """Check that a policy is the one that a signed update speaks of. Raises RefusedPolicyError: damaged."""
    if (packed.size, packed.checksum) != (update.size, update.checksum):
        why = f"it has {packed.size} bytes and the checksum {packed.checksum[:12]}, "
        raise refused(
            Refusal.DAMAGED, update.version, why + f"the update says {update.size} and {update.checksum[:12]}"
        )
    try:
        facts = packed.facts()
    except ValueError as error:
        raise refused(Refusal.DAMAGED, update.version, str(error)) from error
    expected = version_name(facts.policy, generation_of(update.version), facts.digest)
    if facts.policy != update.policy or update.version != expected or not _NAME.fullmatch(update.version):
        raise refused(Refusal.DAMAGED, update.version, "its card is that of another version")
    if facts.observation != update.observation_schema:
        raise refused(Refusal.OTHER_SCHEMA, update.version, "its card names another schema of observations")
    return facts


def verify_numbers(update: PolicyUpdate, packed: PackedPolicy) -> None:
    """Check that every number of a policy is finite. Raises RefusedPolicyError: not-finite, damaged."""
    try:
        name = not_finite(packed.tensors)
    except ValueError as error:
        raise refused(Refusal.DAMAGED, update.version, str(error)) from error
    if name is not None:
        raise refused(Refusal.NOT_FINITE, update.version, f'the tensor "{name}" has a number that is not finite')


def verify_validation(update: PolicyUpdate) -> None:
    """Check that a policy has passed. Raises RefusedPolicyError: not-validated, failed-validation."""
    if update.validation is None:
        raise refused(Refusal.NOT_VALIDATED, update.version, "it has no validation record")
    if not update.validation.passed or update.validation.failures:
        why = "; ".join(update.validation.failures) or "its validation record says so"
        raise refused(Refusal.FAILED_VALIDATION, update.version, why)


def _signature(update: PolicyUpdate, secret: bytes) -> bytes:
    """The checksum stands for the payload, which an update has whole, in parts, or not at all."""
    bare = evolve(update, payload=None, part=None, parts=None)
    return hmac.digest(secret, signed_record_bytes(bare), hashlib.sha256)
