"""What an artifact was made from. Its digest is the name by which stores keep the artifact."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
from attrs import field, frozen, validators

from esper_core.leyline.records import plain

#: Goes into every digest: artifacts of another format are never found.
FORMAT = 1

#: What a digest looks like.
DIGEST = r"[0-9a-f]{64}"


def _sorted(values: "tuple[str, ...] | list[str]") -> tuple[str, ...]:
    return tuple(sorted(values))


def _sizes(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(values)


@frozen(kw_only=True)
class ArtifactInputs:
    """All that decides what a compiler makes. Two artifacts of equal inputs may stand in for each other.

    Compilers do not give the same bytes twice, so an artifact cannot be known by its content.

    Attributes:
        blueprint: its name.
        distribution: the distribution that offers the blueprint.
        version: that distribution's version.
        code: SHA-256 over that distribution's Python files, which change without the version while they are edited.
        options: the blueprint's options, complete: also those that have their defaults.
        layout: the axes of the site's activation.
        shape: the shape of one sample's activation, without the batch.
        causal: positions may see earlier positions only.
        dtype: of the activation, as torch names it.
        compiler: its name.
        compiler_version: the version of its distribution.
        compiler_options: its options, complete.
        torch: the version of torch.
        cpu: the features of the CPU that the artifact needs, sorted; empty: it runs on any machine.
    """

    blueprint: str
    distribution: str
    version: str
    code: str
    options: Mapping[str, Any] = field(converter=dict)
    layout: str
    shape: tuple[int, ...] = field(converter=_sizes, validator=validators.deep_iterable(validators.gt(0)))
    causal: bool
    dtype: str
    compiler: str
    compiler_version: str
    compiler_options: Mapping[str, Any] = field(converter=dict)
    torch: str
    cpu: tuple[str, ...] = field(default=(), converter=_sorted)

    @property
    def digest(self) -> str:
        """SHA-256 over all of it, in hexadecimal digits."""
        content = {"format": FORMAT, **plain(attrs.asdict(self, recurse=False))}
        return hashlib.sha256(canonical(content)).hexdigest()

    @property
    def guard_digest(self) -> str:
        """SHA-256 over what the artifact expects of what it is given and of where it runs, in hexadecimal digits."""
        names = ("layout", "shape", "causal", "dtype", "torch", "cpu")
        guards = plain({name: getattr(self, name) for name in names})
        return hashlib.sha256(canonical({"format": FORMAT, **guards})).hexdigest()


def canonical(content: Mapping[str, Any]) -> bytes:
    """Return the one way in which plain data is written where it is hashed or signed.

    Raises:
        ValueError: if a number is not finite.
    """
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
