"""Secrets: made at first use, private, replaced while messages travel."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from esper_core.leyline.errors import EsperError
from esper_oona.api import Keyring, keyring, rotate, state_directory

HEX = "ab" * 32


def test_a_key_is_made_at_first_use_for_its_owner_only(tmp_path):
    first = keyring(tmp_path, {})
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600
    assert keyring(tmp_path, {}) == first
    assert len(first.signing[1]) == 32
    assert sorted(it.name for it in tmp_path.iterdir()) == ["keys"]


def test_of_many_that_begin_at_once_all_have_one_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(lambda _: keyring(tmp_path, {}).signing, range(32))]
    assert len(set(found)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_file_that_others_can_read_or_change_is_refused(tmp_path, mode):
    keyring(tmp_path, {})
    (tmp_path / "keys").chmod(mode)
    with pytest.raises(EsperError, match="others can read or change") as raised:
        keyring(tmp_path, {})
    assert raised.value.code == "E612"


def test_a_link_is_not_followed(tmp_path):
    keyring(tmp_path, {})
    other = tmp_path / "other"
    other.mkdir()
    (other / "keys").symlink_to(tmp_path / "keys")
    with pytest.raises(EsperError, match="cannot be read"):
        keyring(other, {})


@pytest.mark.parametrize("text", ["", "a", f"a {HEX[:62]}", f"a {HEX}0", f"a {HEX}\na {HEX}", f"a b {HEX}", "\xff"])
def test_what_is_no_key_is_refused_and_not_shown(tmp_path, text):
    (tmp_path / "keys").touch(0o600)
    (tmp_path / "keys").write_bytes(text.encode("latin-1"))
    with pytest.raises(EsperError) as raised:
        keyring(tmp_path, {})
    assert raised.value.code == "E612"
    assert HEX[:40] not in str(raised.value)


def test_the_environment_comes_first(tmp_path):
    found = keyring(tmp_path, {"ESPER_KEYS": f"new:{HEX},old:{'cd' * 32}"})
    assert found.signing == ("new", bytes.fromhex(HEX))
    assert [*found.secrets] == ["new", "old"]
    assert not (tmp_path / "keys").exists()
    assert "abab" not in repr(found)


def test_a_rotated_key_still_verifies_and_is_dropped_in_the_end(tmp_path):
    first = keyring(tmp_path, {}).signing
    second = rotate(tmp_path)
    found = keyring(tmp_path, {})
    assert (found.signing[0], [*found.secrets]) == (second, [second, first[0]])
    third = rotate(tmp_path)
    assert [*keyring(tmp_path, {}).secrets] == [third, second]
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


def test_the_state_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ESPER_STATE", raising=False)
    assert state_directory() == type(tmp_path)(".esper")
    assert (tmp_path / ".esper").stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("ESPER_STATE", str(tmp_path / "a" / "b"))
    assert state_directory().is_dir()
    assert state_directory(tmp_path / "c") == tmp_path / "c"
    (tmp_path / "file").touch()
    with pytest.raises(EsperError) as raised:
        state_directory(tmp_path / "file")
    assert raised.value.code == "E612"


def test_a_keyring_signs_with_its_first_key():
    assert Keyring({"b": b"1", "a": b"2"}).signing == ("b", b"1")
    assert os.environ.get("ESPER_KEYS") is None
