"""The manifest of an artifact: what it is, what it was made from, and a signature over both."""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import attrs
import cattrs
from attrs import field, frozen, validators

from esper_core.leyline.errors import EsperError
from esper_core.leyline.records import plain
from esper_oona.keys import Keyring
from esper_runs.reading import parse_json
from esper_urza.inputs import DIGEST, FORMAT, ArtifactInputs, canonical

#: Stands in front of what is signed, so that no signature of a message is one of a manifest.
_PURPOSE = b"esper artifact manifest\n"

_CONVERTER = cattrs.Converter(forbid_extra_keys=True)


@frozen(kw_only=True)
class Manifest:
    """What is known of an artifact, and signed.

    Attributes:
        inputs: what it was made from.
        sha256: of the content.
        size: of the content, in bytes.
        made_at: in seconds since 1970.
        facts: what was measured when it was made, as plain data.
    """

    inputs: ArtifactInputs
    sha256: str = field(validator=validators.matches_re(DIGEST))
    size: int = field(validator=validators.ge(0))
    made_at: float
    facts: Mapping[str, Any] = field(factory=dict)


def manifest_of(inputs: ArtifactInputs, content: bytes, *, made_at: float, facts: Mapping[str, Any]) -> Manifest:
    """Return the manifest of an artifact."""
    sha256 = hashlib.sha256(content).hexdigest()
    return Manifest(inputs=inputs, sha256=sha256, size=len(content), made_at=made_at, facts=facts)


def signed(manifest: Manifest, keys: Keyring) -> bytes:
    """Return a manifest with a signature (HMAC-SHA256, RFC 2104), as stores keep it."""
    name, secret = keys.signing
    content = plain(attrs.asdict(manifest))
    body = {"format": FORMAT, "key": name, "manifest": content}
    return canonical({**body, "signature": _signature(secret, body)})


def opened(data: bytes, keys: Keyring, *, where: str) -> Manifest:
    """Return the manifest that a signature vouches for. Nothing in it is used before the signature is verified.

    Raises:
        EsperError: E622 if it cannot be read, E623 if it is not signed with one of the keys, E624 if it has another
            format.
    """
    try:
        body = parse_json(data)
        key, signature, number = body["key"], body.pop("signature"), body["format"]
        secret = keys.secrets.get(key)
        genuine = secret is not None and hmac.compare_digest(_signature(secret, body), signature)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise damaged("its manifest cannot be read", where=where) from error
    if not genuine:
        raise foreign(secret is None, where=where)
    if number != FORMAT:
        raise unfit(f"its format is {number}, and this Esper reads {FORMAT}", where=where)
    try:
        return _CONVERTER.structure(body["manifest"], Manifest)
    except (cattrs.BaseValidationError, ValueError, TypeError, KeyError) as error:
        raise damaged("its manifest is not complete", where=where) from error


def damaged(why: str, *, where: str) -> EsperError:
    """Return the error that refuses what is not as it was saved."""
    fix = "esper store verify --remove removes what is refused, and it is made again at its next use"
    return EsperError("E622", "an artifact is damaged", where=where, why=why, fix=fix)


def foreign(unknown: bool, *, where: str) -> EsperError:
    """Return the error that refuses a signature."""
    why = "the key that signed it is not one of ours" if unknown else "its signature is not that of its content"
    fix = "use the keys it was made with (ESPER_KEYS), or remove it: esper store verify --remove"
    return EsperError("E623", "an artifact is not signed by us", where=where, why=why, fix=fix)


def unfit(why: str, *, where: str) -> EsperError:
    """Return the error that refuses what was made for something else."""
    fix = "leave it to the machine that it was made for; here another one is made"
    return EsperError("E624", "an artifact was made for another machine", where=where, why=why, fix=fix)


def _signature(secret: bytes, body: Mapping[str, Any]) -> str:
    return hmac.digest(secret, _PURPOSE + canonical(body), hashlib.sha256).hex()
