"""`esper store`."""

import json

import pytest
from click.testing import CliRunner

from esper_app_store.command import store as command
from esper_oona.api import Keyring, keyring
from esper_store_local.store import LocalStore
from esper_urza.api import SignedStore, this_machine
from esper_urza.testing.store_subject import inputs, kept

TORCH = this_machine().torch


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path / "state"))
    (tmp_path / "state").mkdir()
    return f"local:{tmp_path}/store"


@pytest.fixture
def local(url):
    found = LocalStore(_folder(url), max_bytes=1 << 20, ttl_days=9.0)
    yield found
    found.close()


def _folder(url):
    from pathlib import Path

    return Path(url.removeprefix("local:"))


@pytest.fixture
def ours(local, tmp_path):
    return SignedStore(local, keyring(tmp_path / "state"))


def run(*args):
    return CliRunner().invoke(command, [*args], catch_exceptions=False)


def test_artifacts_are_listed_and_verified(url, ours):
    ours.save(inputs(blueprint="conv-light", torch=TORCH), kept("a").content)
    result = run("ls", url)
    assert result.exit_code == 0
    assert "conv-light" in result.output
    assert "NCHW 4x8x8 float32" in result.output
    assert "1 artifact, 1,000 bytes" in result.output
    assert run("verify", url).output == "verified: 1, refused: 0\n"


@pytest.mark.parametrize("columns", [60, 120])
def test_the_list_fits_the_screen(url, ours, local, columns):
    ours.save(inputs(blueprint="conv-light", torch=TORCH), kept("a").content)
    SignedStore(local, Keyring({"theirs": b"t" * 32})).save(inputs(torch=TORCH), kept("b").content)
    env = {"COLUMNS": str(columns)}
    lines = CliRunner().invoke(command, ["ls", url], env=env, catch_exceptions=False).output.splitlines()
    assert max(map(len, lines)) <= columns
    assert "not one of ours" in " ".join(" ".join(lines).split())


def test_looking_makes_nothing(url, tmp_path, monkeypatch):
    monkeypatch.setenv("ESPER_STATE", str(tmp_path / "none"))
    for args in (("ls", url), ("ls",), ("verify",), ("gc",)):
        assert run(*args).exit_code == 0
    assert not (tmp_path / "none").exists()
    assert not _folder(url).exists()


def test_the_store_of_the_environment_is_used(url, ours, monkeypatch):
    monkeypatch.setenv("ESPER_STORE", url)
    ours.save(inputs(torch=TORCH), kept("a").content)
    (entry,) = json.loads(run("ls", "--json").output)
    assert (entry["size"], entry["state"]) == (1_000, "ok")


def test_what_is_refused_is_removed_if_asked_for_but_not_what_is_of_another_machine(url, ours, local):
    SignedStore(local, Keyring({"theirs": b"t" * 32})).save(inputs(torch=TORCH), kept("a").content)
    ours.save(inputs(torch="0.1"), kept("b").content)
    ours.save(inputs(torch=TORCH), kept("c").content)
    assert "E623" in run("ls", url).output
    result = run("verify", url)
    assert result.exit_code == 1
    assert result.output.endswith("verified: 1, refused: 2\n")
    assert run("verify", url, "--remove").output.count("(removed)") == 1
    result = run("verify", url)
    assert "E624" in result.output
    assert result.output.endswith("verified: 1, refused: 1\n")


def test_what_is_too_much_is_collected(url, ours):
    for number in range(3):
        ours.save(inputs(torch=TORCH), kept(f"{number}").content)
    assert run("gc", f"{url}?max_bytes=2000").output == "removed: 1, left: 2 (2,000 bytes)\n"
