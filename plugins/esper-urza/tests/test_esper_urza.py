"""Digests, manifests, and what is refused."""

import attrs
import pytest

from esper_app.api import load_plugins
from esper_core.api import EsperError
from esper_oona.api import Keyring
from esper_store_local.store import LocalStore
from esper_urza.api import ArtifactInputs, Machine, SignedStore, open_store, this_machine
from esper_urza.machine import features_of
from esper_urza.testing.store_subject import KEYS, inputs, kept

HERE = Machine(cpu=frozenset({"x86_64", "avx2"}), torch="1")
CONTENT = kept("content").content

OTHERS = {
    "blueprint": "other",
    "distribution": "other",
    "version": "2",
    "code": "1" * 64,
    "options": {"width": 5},
    "layout": "BTD",
    "shape": (4, 8, 9),
    "causal": True,
    "dtype": "float64",
    "compiler": "other",
    "compiler_version": "2",
    "compiler_options": {"fast": True},
    "torch": "2",
    "cpu": ("avx2",),
}


@pytest.fixture
def local(tmp_path):
    store = LocalStore(tmp_path / "store", max_bytes=1 << 20, ttl_days=9.0)
    yield store
    store.close()


@pytest.fixture
def store(local):
    return SignedStore(local, KEYS, machine=HERE)


def refusal(store, made):
    with pytest.raises(EsperError) as caught:
        store.find(made)
    return caught.value.code, caught.value.why


def test_every_input_is_in_the_digest():
    one = inputs(blueprint="b")
    changed = {attrs.evolve(one, **{name: value}).digest for name, value in OTHERS.items()}
    assert set(OTHERS) == {it.name for it in attrs.fields(ArtifactInputs)}
    assert len(changed | {one.digest}) == len(OTHERS) + 1


def test_the_guard_digest_is_of_what_is_given_and_where_it_runs():
    one = inputs(blueprint="b")
    guards = {"layout", "shape", "causal", "dtype", "torch", "cpu"}
    for name, value in OTHERS.items():
        assert (attrs.evolve(one, **{name: value}).guard_digest != one.guard_digest) == (name in guards)


def test_the_digest_does_not_depend_on_the_order_of_options_and_features():
    one = inputs(blueprint="b", options={"a": 1, "b": [1, 2]}, cpu=("x", "y"))
    other = inputs(blueprint="b", options={"b": [1, 2], "a": 1}, cpu=["y", "x"])
    assert one.digest == other.digest


def test_an_option_that_is_not_finite_has_no_digest():
    with pytest.raises(ValueError, match="JSON compliant"):
        inputs(options={"scale": float("nan")}).digest  # noqa: B018


def test_what_is_saved_is_found(store):
    made = inputs()
    manifest = store.save(made, CONTENT, {"compile_ms": 2.5})
    found = store.find(made)
    assert (found.content, found.manifest) == (CONTENT, manifest)
    assert found.manifest.inputs == made
    assert store.find(inputs()) is None


def test_a_foreign_signature_is_refused(local, store):
    made = inputs()
    SignedStore(local, Keyring({"theirs": b"t" * 32})).save(made, CONTENT)
    assert refusal(store, made) == ("E623", "the key that signed it is not one of ours")
    SignedStore(local, Keyring({"check": b"t" * 32})).save(made, CONTENT)
    assert refusal(store, made) == ("E623", "its signature is not that of its content")


def test_an_earlier_key_still_verifies(local, store):
    made = inputs()
    store.save(made, CONTENT)
    rotated = SignedStore(local, Keyring({"new": b"n" * 32, **KEYS.secrets}), machine=HERE)
    assert rotated.find(made).content == CONTENT


def test_an_artifact_in_the_place_of_another_is_refused(local, store):
    one, other = inputs(), inputs()
    store.save(one, CONTENT)
    local.put(other.digest, local.get(one.digest))
    assert refusal(store, other) == ("E622", "another artifact stands in its place")


def test_another_cpu_is_refused(store):
    made = inputs(cpu=("avx2", "avx512f", "amx_tile"))
    store.save(made, CONTENT)
    assert refusal(store, made) == ("E624", "it needs a CPU with amx_tile, avx512f")
    fitting = inputs(cpu=("x86_64", "avx2"))
    store.save(fitting, CONTENT)
    assert store.find(fitting) is not None


def test_another_torch_is_refused(store):
    made = inputs(torch="2")
    store.save(made, CONTENT)
    assert refusal(store, made) == ("E624", "it needs torch 2, and here is 1")


@pytest.mark.parametrize("manifest", [b"", b"{}", b"[]", b"\xff", b"[" * 99_999, b'{"key": [], "signature": 1}'])
def test_what_is_no_manifest_is_refused(local, store, manifest):
    made = inputs()
    local.put(made.digest, type(kept(""))(manifest, CONTENT))
    assert refusal(store, made)[0] == "E622"


def test_what_happened_is_counted(local, store):
    made, foreign = inputs(), inputs()
    store.save(made, CONTENT)
    SignedStore(local, Keyring({"theirs": b"t" * 32})).save(foreign, CONTENT)
    store.find(made)
    store.find(inputs())
    refusal(store, foreign)
    assert dict(store.verify())[made.digest] is None
    counted = {name: store.metrics.value(name) for name in ("saves", "hits", "misses", "refusals", "refusals_E623")}
    assert counted == {"saves": 1, "hits": 2, "misses": 1, "refusals": 2, "refusals_E623": 2}
    assert sum(store.metrics.snapshot()["lookup_seconds"]["counts"]) == 3


def test_features_are_those_that_all_cpus_have():
    text = "flags\t\t: fpu sse2 avx2 avx512f ibrs\nmodel name: x\nflags\t\t: fpu sse2 avx2\n"
    assert features_of(text) == {"sse2", "avx2"}
    assert features_of("Features\t: fp asimd sve\n") == {"fp", "asimd", "sve"}
    assert this_machine().cpu


def test_a_store_is_opened_by_its_address(tmp_path):
    registry = load_plugins().registry
    store = open_store(f"local:{tmp_path}/store?max_bytes=500", registry, tmp_path / "state")
    made = inputs(torch=this_machine().torch)
    store.save(made, b"x" * 500)
    assert store.find(made).content == b"x" * 500
    with pytest.raises(EsperError, match="too large"):
        store.save(made, b"x" * 501)
    store.store.close()
    for address, code in (("locla:", "E204"), (f"local:{tmp_path}/store?max_byte=500", "E201")):
        with pytest.raises(EsperError) as caught:
            open_store(address, registry, tmp_path / "state")
        assert caught.value.code == code
