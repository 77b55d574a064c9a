"""The store in a folder: what somebody or something does to its files, and who may use it at once."""

import errno
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from esper_core.api import EsperError
from esper_store_local.mounts import network_file_system
from esper_store_local.store import LocalConfig, LocalStore
from esper_urza.testing.store_subject import digest_of, inputs, kept, signed_store

DAY = 86_400.0


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


def opened(folder, **options):
    return LocalStore(folder, **{"max_bytes": 1 << 20, "ttl_days": 9.0} | options)


@pytest.fixture
def store(folder):
    found = opened(folder)
    yield found
    found.close()


@pytest.fixture
def made(store):
    """The inputs of an artifact that was saved."""
    found = inputs()
    signed_store(store).save(found, kept("content", 4_000).content)
    return found


def content_of(folder):
    (path,) = (folder / "objects").glob("*/*")
    return path


@contextmanager
def refused_as(code):
    with pytest.raises(EsperError) as caught:
        yield caught
    assert caught.value.code == code


def refusal(store, made):
    with pytest.raises(EsperError) as caught:
        signed_store(store).find(made)
    return caught.value.code, caught.value.why


def rewrite(folder, column, value):
    with sqlite3.connect(folder / "catalogue.sqlite") as sql:
        sql.execute(f"UPDATE artifacts SET {column} = ?", (value,))


def flips(folder, store, made, count):
    """Change single bytes, of the content, the manifest and the name of the file; return how many were refused."""
    chance = random.Random(0)
    path = content_of(folder)
    content = path.read_bytes()
    manifest = store.get(made.digest).manifest
    signed, refused = signed_store(store), 0
    for victims, put in (
        (content, path.write_bytes),
        (manifest, lambda changed: rewrite(folder, "manifest", changed)),
        (path.name.encode(), lambda changed: rewrite(folder, "sha256", changed.decode("latin-1"))),
    ):
        for _ in range(count // 3):
            victim = bytearray(victims)
            victim[chance.randrange(len(victim))] ^= chance.randrange(1, 256)
            put(bytes(victim))
            try:
                signed.find(made)
            except EsperError as error:
                refused += error.code in ("E622", "E623")
        put(victims)
    assert signed.find(made) is not None
    return refused


def test_another_address_is_refused_in_words():
    with pytest.raises(ValueError, match=r"'url' must be local:PATH, such as local:artifacts, .*: 's3:x'"):
        LocalConfig(url="s3:x")


def test_a_changed_byte_is_refused(folder, store, made):
    assert flips(folder, store, made, 450) == 450


@pytest.mark.soak
def test_ten_thousand_changed_bytes_are_refused(folder, store, made):
    assert flips(folder, store, made, 10_002) == 10_002


def catalogue_flips(folder, made, content, count):
    """Change single bytes of the catalogue's own file; return what became of each."""
    chance, path = random.Random(0), folder / "catalogue.sqlite"
    whole, ends = path.read_bytes(), []
    for _ in range(count):
        victim = bytearray(whole)
        victim[chance.randrange(len(victim))] ^= chance.randrange(1, 256)
        path.write_bytes(bytes(victim))
        try:
            store = opened(folder)
            try:
                found = signed_store(store).find(made)
            finally:
                store.close()
        except EsperError as error:
            ends.append(error.code)
        else:
            ends.append("missed" if found is None else "right" if found.content == content else "wrong")
        for left in folder.glob("catalogue.sqlite-*"):
            left.unlink()
    path.write_bytes(whole)
    return ends


def test_a_catalogue_with_a_changed_byte_gives_nothing_else(folder, store, made):
    content = signed_store(store).find(made).content
    store.close()
    ends = catalogue_flips(folder, made, content, 150)
    assert set(ends) <= {"right", "missed", "E621", "E622", "E623"}
    assert len(set(ends)) > 1
    assert signed_store(opened(folder)).find(made).content == content


@pytest.mark.soak
def test_ten_thousand_changed_bytes_of_a_catalogue_give_nothing_else(folder, store, made):
    content = signed_store(store).find(made).content
    store.close()
    assert set(catalogue_flips(folder, made, content, 10_000)) <= {"right", "missed", "E621", "E622", "E623"}


def test_a_truncated_file_is_refused(folder, store, made):
    path = content_of(folder)
    path.write_bytes(path.read_bytes()[:-1])
    assert refusal(store, made) == ("E622", "it has 3,999 bytes, and was saved with 4,000")


def test_a_longer_file_is_refused(folder, store, made):
    path = content_of(folder)
    path.write_bytes(path.read_bytes() + b"!")
    assert refusal(store, made)[0] == "E622"


def test_a_missing_file_is_refused(folder, store, made):
    content_of(folder).unlink()
    assert refusal(store, made) == ("E622", "its file is missing")


def test_a_path_that_leaves_the_store_is_refused(folder, store, made, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(content_of(folder).read_bytes())
    for name in ("../../outside", str(outside), "../" + "0" * 61):
        rewrite(folder, "sha256", name)
        assert refusal(store, made) == ("E622", "its path leaves the store")
    assert store.remove(made.digest)
    assert outside.exists()


@pytest.mark.parametrize("whole_folder", [False, True], ids=["file", "folder"])
def test_a_link_is_refused_though_its_content_is_right(folder, store, made, tmp_path, whole_folder):
    victim = content_of(folder).parent if whole_folder else content_of(folder)
    victim.rename(tmp_path / "elsewhere")
    victim.symlink_to(tmp_path / "elsewhere")
    code, why = refusal(store, made)
    assert (code, "symbolic link" in why) == ("E622", True)


def test_a_pipe_is_not_waited_for(folder, store, made):
    path = content_of(folder)
    path.unlink()
    os.mkfifo(path)
    assert refusal(store, made)[0] == "E622"


def test_nothing_is_written_or_removed_through_a_link(folder, store, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("")
    (folder / "objects").mkdir(parents=True)
    things = [kept(f"{number}") for number in range(300)]
    for number in range(256):
        (folder / "objects" / f"{number:02x}").symlink_to(outside)
    with refused_as("E621"):
        store.put(digest_of("a"), things[0])
    store.collect()
    assert [it.name for it in outside.iterdir()] == ["precious"]


def test_a_link_is_no_catalogue(folder, store, made, tmp_path):
    store.close()
    (folder / "catalogue.sqlite").rename(tmp_path / "elsewhere")
    (folder / "catalogue.sqlite").symlink_to(tmp_path / "elsewhere")
    with refused_as("E621"):
        opened(folder)


def test_a_damaged_catalogue_is_an_error_with_a_fix(folder, store, made):
    store.close()
    (folder / "catalogue.sqlite").write_bytes(b"not a database" * 999)
    with refused_as("E621") as caught:
        opened(folder)
    assert "can be removed" in caught.value.fix


def test_a_newer_catalogue_is_refused(folder, store, made):
    store.close()
    with sqlite3.connect(folder / "catalogue.sqlite") as sql:
        sql.execute("PRAGMA user_version = 2")
    with refused_as("E621"):
        opened(folder)


def test_a_store_that_cannot_be_written_says_why(folder, store, made, monkeypatch):
    store.close()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with refused_as("E621") as caught:
        opened(folder)
    assert caught.value.why == "Permission denied, and what was used is noted there"


def test_files_are_for_their_owner_only(folder, store, made):
    paths = [folder, folder / "catalogue.sqlite", content_of(folder), content_of(folder).parent]
    assert [path.stat().st_mode & 0o077 for path in paths] == [0, 0, 0, 0]


def test_what_was_not_used_for_long_is_removed(folder):
    now = [1e9]
    store = opened(folder, clock=lambda: now[0])
    old, used = digest_of("old"), digest_of("used")
    store.put(old, kept("old"))
    store.put(used, kept("used"))
    now[0] += 8 * DAY
    store.get(used)
    now[0] += 2 * DAY
    assert list(store.collect()) == [old]
    assert store.get(used) is not None
    assert len([*(folder / "objects").glob("*/*")]) == 1


def test_a_smaller_bound_holds_from_the_next_collection_on(folder, store):
    digests = [digest_of(f"{number}") for number in range(5)]
    for digest in digests:
        store.put(digest, kept(digest))
    smaller = opened(folder, max_bytes=2_500)
    assert list(smaller.collect()) == digests[:3]


def test_what_a_dead_process_left_is_collected(folder, store, made):
    left = content_of(folder).with_name(".0123456789abcdef")
    left.write_bytes(b"half")
    store.collect()
    assert (left.exists(), signed_store(store).find(made) is not None) == (False, True)


def test_what_could_not_be_written_leaves_nothing(folder, store, made, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = sorted((folder / "objects").rglob("*"))
    with monkeypatch.context() as context:
        context.setattr(os, "fsync", full)
        with refused_as("E621") as caught:
            store.put(digest_of("a"), kept("a"))
    assert "No space left" in caught.value.why
    assert [it for it in (folder / "objects").rglob("*") if it.is_file()] == [it for it in before if it.is_file()]


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_store_that_was_removed_under_a_process_is_begun_anew(folder, journal):
    store, other = opened(folder, journal=journal), opened(folder, journal=journal)
    first, second, third = (digest_of(name) for name in "abc")
    store.put(first, kept("a"))
    shutil.rmtree(folder)
    assert store.get(first) is None
    store.put(second, kept("b"))
    assert other.get(second) == store.get(second) == kept("b")
    shutil.rmtree(folder)
    other.put(third, kept("c"))
    assert [it.digest for it in store.entries()] == [third]


WRITER = """
import sys
from pathlib import Path
from esper_store_local.store import LocalStore
from esper_urza.testing.store_subject import inputs, kept, signed_store
store = LocalStore(Path(sys.argv[1]), max_bytes=40_000, ttl_days=9.0)
signed, number = signed_store(store), 0
while True:
    number += 1
    signed.save(inputs(blueprint=f"b{number % 20}"), kept(f"{sys.argv[2]}-{number}", 4_000).content)
    print(number, flush=True)
"""


@pytest.mark.slow
def test_what_killed_writers_leave_is_whole(folder):
    """Several processes save under the same digests, and are killed in the middle of it."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, folder, name], stdout=subprocess.PIPE, text=True)
        for name in "ab"
    ]
    for writer in writers:
        for _ in range(30):
            assert writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    store = opened(folder, max_bytes=40_000)
    found = signed_store(store).verify()
    assert found
    assert all(error is None for _, error in found)
    store.collect()
    assert len([*(folder / "objects").glob("*/*")]) == len(found)


def test_a_look_up_does_not_wait_for_who_saves(folder, store, made):
    """Its use is not noted then."""
    busy = sqlite3.connect(folder / "catalogue.sqlite", isolation_level=None)
    busy.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(lambda: signed_store(store).find(made)).result(timeout=20)
    busy.rollback()
    busy.close()
    assert found is not None


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_looking_makes_nothing(folder, journal):
    store = opened(folder, journal=journal)
    found = signed_store(store).find(inputs()), [*store.entries()], store.remove(digest_of("a")), [*store.collect()]
    store.close()
    assert found == (None, [], False, [])
    assert not folder.exists()


def test_a_store_that_somebody_made_meanwhile_is_found(folder):
    early = opened(folder)
    assert early.entries() == []
    later = opened(folder)
    later.put(digest_of("a"), kept("a"))
    assert [it.size for it in early.entries()] == [1_000]
    early.close()
    later.close()


def test_a_folder_that_could_not_be_made_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "store"):
        with refused_as("E621"):
            opened(folder)


def test_a_look_up_writes_nothing_and_its_use_is_noted_later(folder):
    """Where every transaction waits for the disk, a look-up would."""
    now = [1e9]
    store = opened(folder, journal="delete", clock=lambda: now[0])
    old, used = digest_of("old"), digest_of("used")
    for digest in (used, old):
        store.put(digest, kept("it"))
    before = (folder / "catalogue.sqlite").read_bytes()
    now[0] += 60
    assert store.get(used) is not None
    assert (folder / "catalogue.sqlite").read_bytes() == before
    store.close()
    store = opened(folder, journal="delete")
    assert [(it.digest, it.used_at) for it in store.entries()] == [(old, 1e9), (used, 1e9 + 60)]
    store.close()


def test_a_use_in_another_process_is_noted_after_a_while(folder, store, monkeypatch):
    digests = [digest_of("a"), digest_of("b")]
    for digest in digests:
        store.put(digest, kept(digest))
    monkeypatch.setattr("esper_store_local.catalogue.NOTE_SECONDS", 0.0)
    store.get(digests[0])
    other = opened(folder)
    assert [it.digest for it in other.entries()] == [digests[1], digests[0]]
    other.close()


MOUNTS = """\
1 0 8:1 / / rw - ext4 /dev/sda1 rw
2 1 0:1 / /data/ada\\040b rw shared:1 - nfs4 server:/data rw
3 2 8:2 / /data/ada\\040b/scratch rw - xfs /dev/sdb1 rw
4 1 0:2 / /data/ssh rw - fuse.sshfs host:/ rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    {
        "/data/ada": None,
        "/data/ada b/esper": "nfs4",
        "/data/ada b/scratch/x": None,
        "/data/ssh": "fuse.sshfs",
        "/data/sshx": None,
    }.items(),
)
def test_network_file_systems_are_known(folder, kind):
    assert network_file_system(Path(folder), MOUNTS) == kind


def test_a_journal_in_shared_memory_is_refused_on_a_network(folder, monkeypatch):
    monkeypatch.setattr("esper_store_local.store.network_file_system", lambda folder: "nfs4")
    with refused_as("E621") as caught:
        opened(folder)
    assert "journal=delete" in caught.value.fix
    opened(folder, journal="delete").close()
