"""What is asked of the store of artifacts, and what it answers. Times have a time zone; durations are milliseconds."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from attrs import field, frozen


@frozen(kw_only=True)
class KernelPrefetchRequest:
    """The module of a blueprint will be needed.

    Attributes:
        request_id: the answer names it.
        blueprint: catalogue name.
        parameters: the blueprint's options, as plain data.
        run: the run that will need it; None: of no run.
        issued_at: when it was asked.
        expires_at: nobody waits for an answer after this; None: there is no such time.
        layout: the axes of the activations that the module will be given; None: it is not said.
        shape: of one sample's activation, without the batch.
        causal: positions may see earlier positions only; None: it is not said.
        dtype: of the activations, as torch names it; None: it is not said.
        compilers: names of compilers; the first that can run where it is made is used.
    """

    request_id: str
    blueprint: str
    parameters: Mapping[str, Any] = field(factory=dict)
    run: str | None = None
    issued_at: datetime
    expires_at: datetime | None = None
    layout: str | None = None
    shape: tuple[int, ...] = ()
    causal: bool | None = None
    dtype: str | None = None
    compilers: tuple[str, ...] = ()


@frozen(kw_only=True)
class KernelPrefetchReady:
    """It is available.

    Attributes:
        request_id: of the request.
        blueprint: catalogue name.
        artifact_ref: where it is in the store.
        artifact_version: which of the blueprint's.
        checksum: SHA-256 of the artifact, in hexadecimal digits.
        guard_digest: SHA-256 of what the artifact expects of its inputs, in hexadecimal digits.
        prewarm_p50_ms, prewarm_p95_ms: median and 95th percentile of a first call; None: it was never measured.
        issued_at: when it was found.
        expires_at: the artifact may be gone after this; None: it stays.
    """

    request_id: str
    blueprint: str
    artifact_ref: str
    artifact_version: str
    checksum: str
    guard_digest: str
    prewarm_p50_ms: float | None = None
    prewarm_p95_ms: float | None = None
    issued_at: datetime
    expires_at: datetime | None = None


@frozen(kw_only=True)
class KernelPrefetchError:
    """It is not available.

    Attributes:
        request_id: of the request.
        blueprint: catalogue name.
        code: one word for programs, such as ``checksum_mismatch``.
        reason: in words.
        temporary: asking again may help.
        issued_at: when it failed.
    """

    request_id: str
    blueprint: str
    code: str
    reason: str
    temporary: bool = False
    issued_at: datetime


@frozen(kw_only=True)
class KernelCatalogUpdate:
    """An artifact is new in the catalogue.

    Attributes:
        blueprint, artifact_ref, artifact_version, checksum, guard_digest: as in `KernelPrefetchReady`.
        parameters: the blueprint's options, as plain data.
        compile_ms: how long compiling took; None: it was not compiled.
        prewarm_ms: how long its first call took; None: it was not called.
        issued_at: when it was saved.
        key_id: name of the key that it was signed with; None: it is not signed.
        signature: HMAC-SHA256 of `signed_record_bytes`; None: it is not signed.
    """

    blueprint: str
    parameters: Mapping[str, Any] = field(factory=dict)
    artifact_ref: str
    artifact_version: str
    checksum: str
    guard_digest: str
    compile_ms: float | None = None
    prewarm_ms: float | None = None
    issued_at: datetime
    key_id: str | None = None
    signature: bytes | None = None
