"""Options of the bus, and the secrets that are no part of its address."""

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from attrs import Attribute, field, frozen, validators

from esper_core.api import EsperError
from esper_oona.api import Survival, secret

#: The environment's words for what a server asks of who connects.
TOKEN, PASSWORD = "ESPER_NATS_TOKEN", "ESPER_NATS_PASSWORD"

SURVIVE = {"process": Survival.PROCESS, "server": Survival.SERVER, "power": Survival.POWER}


def check_server(_: Any, attribute: "Attribute[str]", value: str) -> None:
    """Check that an address names a server. Raises ValueError, which does not repeat what may hold a secret."""
    try:
        address = urlsplit(value)
        known = address.scheme in ("nats", "tls") and address.hostname and address.port != 0
    except ValueError:  # a port that is no number, or too large, or half an address of IPv6
        known = False
    if not known:
        raise ValueError(
            f"'{attribute.name}' must be nats://HOST:PORT, or tls://HOST:PORT with TLS, such as nats://localhost:4222"
        )


@frozen(kw_only=True)
class NatsConfig:
    """Options of `nats`.

    Attributes:
        url: ``nats://HOST:PORT``, ``tls://`` with TLS, ``nats://USER@HOST:PORT`` with a user. The user's password is
            taken from the environment's ESPER_NATS_PASSWORD, a token from ESPER_NATS_TOKEN.
        survives: the worst that messages survive: ``process`` (streams in the server's memory), ``server`` (in files),
            or ``power``, which the server must be set up for.
        secret_file: a file with the password or the token, which only its owner may read; instead of the environment.
        ca_file: certificates of the authorities that are trusted, instead of the system's.
        monitor: the server's monitoring address, ``http://HOST:PORT``. ``power`` is asked there: a server tells its
            settings nowhere else.
        timeout_seconds: how long one call may take.
    """

    url: str = field(default="nats://localhost:4222", validator=check_server)
    survives: Literal["process", "server", "power"] = field(
        default="server", validator=validators.in_(SURVIVE), metadata={"esper_unseen": "durability"}
    )
    secret_file: str | None = field(default=None, metadata={"esper_unseen": "security"})
    ca_file: str | None = field(default=None, metadata={"esper_unseen": "security"})
    monitor: str | None = field(default=None, metadata={"esper_unseen": "durability"})
    timeout_seconds: float = field(
        default=5.0, converter=float, validator=validators.gt(0.0), metadata={"esper_unseen": "speed"}
    )


def connect_options(config: NatsConfig, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return what `nats.connect` is given.

    Raises:
        EsperError: E202 if the address holds a secret or the certificates cannot be read, E612 if the file of a secret
            can be read by others, or not at all.
    """
    address = urlsplit(config.url)
    if address.password or (address.username and ":" in address.netloc.rpartition("@")[0]):
        fix = f"nats://USER@HOST:PORT, with the password in {PASSWORD}, or `?secret_file=PATH`"
        raise EsperError("E202", "an address is no place for a password: everybody can read it", fix=fix)
    found: dict[str, Any] = {"servers": [f"{address.scheme}://{address.netloc.rpartition('@')[2]}"]}
    if address.username:
        found |= {"user": address.username, "password": secret(PASSWORD, config.secret_file, environment) or ""}
    elif token := secret(TOKEN, config.secret_file, environment):
        found["token"] = token
    if address.scheme == "tls" or config.ca_file:
        found["tls"] = _trusted(config.ca_file)
    return found


def _trusted(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(Path(ca_file)))
    except OSError as error:
        raise EsperError("E202", f'certificates cannot be read from "{ca_file}"', why=str(error)) from error
