"""A saved policy as one piece of bytes, and what its card says that others rely on.

The bytes are the length of the card in 8 bytes (little-endian), the card, and the file of tensors. The card holds the
digest of the tensors.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from esper_runs.reading import parse_object, read_regular

#: The names of the two files of a policy, as `esper train` names those of its own.
CARD, TENSORS = "policy.json", "policy.safetensors"

_LENGTH = 8


@frozen(kw_only=True)
class PolicyFacts:
    """What the card of a policy says.

    Attributes:
        policy: name of the component.
        catalogue: digest of its catalogue.
        observation: hash of the features that it reads; None: it does not say.
        gamma: the discount that it was trained with.
        terms: names of the reward terms that it was trained with, in alphabetical order.
        digest: SHA-256 of the file of tensors.
    """

    policy: str
    catalogue: str
    observation: str | None
    gamma: float
    terms: tuple[str, ...]
    digest: str


@frozen(kw_only=True)
class PackedPolicy:
    """The two files of a saved policy.

    Attributes:
        card: JSON.
        tensors: safetensors.
    """

    card: bytes = field(repr=lambda value: f"<{len(value)} bytes>")
    tensors: bytes = field(repr=lambda value: f"<{len(value)} bytes>")

    @classmethod
    def read(cls, folder: Path, card: str = CARD, tensors: str = TENSORS) -> "PackedPolicy":
        """Read the two files of a folder. Raises OSError, or ValueError for what is no regular file."""
        return cls(card=read_regular(folder / card), tensors=read_regular(folder / tensors))

    @classmethod
    def unpacked(cls, data: bytes) -> "PackedPolicy":
        """Return the policy in such bytes. Raises ValueError if they are none."""
        length = int.from_bytes(data[:_LENGTH], "little")
        if len(data) < _LENGTH or length > len(data) - _LENGTH:
            raise ValueError("it is no packed policy")
        return cls(card=data[_LENGTH : _LENGTH + length], tensors=data[_LENGTH + length :])

    @property
    def packed(self) -> bytes:
        """Both files as one piece of bytes."""
        return len(self.card).to_bytes(_LENGTH, "little") + self.card + self.tensors

    @property
    def checksum(self) -> str:
        """SHA-256 of `packed`, in hexadecimal digits."""
        found = hashlib.sha256(len(self.card).to_bytes(_LENGTH, "little"))
        found.update(self.card)
        found.update(self.tensors)
        return found.hexdigest()

    @property
    def size(self) -> int:
        """Number of bytes of `packed`."""
        return _LENGTH + len(self.card) + len(self.tensors)

    def facts(self) -> PolicyFacts:
        """Return what the card says.

        Raises:
            ValueError: if it is no card, or one of other tensors.
        """
        found = _facts(parse_object(self.card))
        if hashlib.sha256(self.tensors).hexdigest() != found.digest:
            raise ValueError("the card is of other tensors")
        return found


def _facts(card: Mapping[str, Any]) -> PolicyFacts:
    try:
        rewards = card["rewards"]
        found = PolicyFacts(
            policy=card["policy"],
            catalogue=card["catalogue"],
            observation=card["observation"],
            gamma=float(rewards["gamma"]),
            terms=tuple(sorted(str(term["name"]) for term in rewards["terms"])),
            digest=card["digest"],
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"the card has no {error}") from error
    texts = (found.policy, found.catalogue, found.digest)
    if not all(isinstance(it, str) and it for it in texts) or not isinstance(found.observation, str | None):
        raise ValueError("the card is not as a policy's")
    return found


def not_finite(tensors: bytes) -> str | None:
    """Return the name of a tensor with a number that is not finite, in a file of tensors; None if there is none.

    Raises:
        ValueError: if it is no file of tensors.
    """
    # Imported here: the store is also asked by commands that need no torch.
    import safetensors.torch
    import torch
    from safetensors import SafetensorError

    try:
        loaded = safetensors.torch.load(tensors)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    return next((name for name, it in sorted(loaded.items()) if not bool(torch.isfinite(it).all())), None)
