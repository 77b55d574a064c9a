"""Offline learning as a whole: real runs report, Simic learns, validates and promotes, and the next run uses that."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import safetensors.torch
import torch
from attrs import evolve
from click.testing import CliRunner

from esper_app.api import load_plugins
from esper_app.cli.root import cli
from esper_app.execution.following import Following
from esper_app_simic.fitting import fits
from esper_bus_sqlite.bus import SqliteConfig, sqlite_bus
from esper_leyline_proto.learning import PolicyUpdate
from esper_leyline_proto.telemetry import TelemetryBatch
from esper_messaging.reading import Reader
from esper_oona.api import Publisher, Replays, Signer, keyring
from esper_simic.api import (
    Limits,
    PackedPolicy,
    PolicyStore,
    Refusal,
    RefusedPolicyError,
    ReplayStore,
    in_messages,
    judge,
    make_update,
    sign,
    update_draft,
)

EPOCHS = 3
HOST = ["host.widths=[4, 4]", f"epochs={EPOCHS}", "twin=epochs", "checkpoints.every=0"]
#: So that not every decision of a few is to wait, and a policy has room in a message.
POLICY = ["policy.hidden=16", "policy.slot_encoding=8", "policy.wait_bias=0"]


def invoke(*arguments, code=0):
    result = CliRunner().invoke(cli, [*map(str, arguments)])
    assert result.exit_code == code, result.output + str(result.exception)
    return result.output


def settings(*texts):
    return [part for text in texts for part in ("--set", text)]


def events(run):
    return [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]


def versions_in(run):
    """The versions that the actions of a run are said to come from, by round."""
    found = [it for it in events(run) if it["kind"] == "action_decided"]
    return {(it["round"], it["data"]["policy"].partition(" ")[0]) for it in found}


class Whole:
    """What has happened, in one state directory: a first policy, two runs under it, learning, and a run afterwards."""

    def __init__(self, folder):
        self.state, self.runs = folder / "state", folder / "runs"
        begin = [*settings(*HOST, f"runs={self.runs}"), "--bus", "sqlite:", "--state", self.state]
        invoke("train", "digits", "--rounds", 1, *settings(*HOST, *POLICY, f"runs={self.runs}", "seed=1"))
        self.added = invoke("policy", "--state", self.state, "add", self.runs / "digits-1/policy", "--promote")
        self.root = self.added.split()[-1]
        invoke("run", "digits", "--policy", "champion", "--hosts", 2, *begin, "--set", "seed=11")
        invoke("train", "digits", "--policy", "champion", "--rounds", 2, *begin, "--set", "seed=21")
        self.learned = self.simic("--promote", "--margin", 100)
        self.champion = json.loads(invoke("policy", "--state", self.state, "show", "--json"))
        self.status = json.loads(invoke("simic", "--state", self.state, "status", "--json"))
        invoke("run", "digits", "--policy", "champion", *begin, "--set", "seed=31")
        self.heard = self.published()

    def simic(self, *more, code=0):
        sets = settings("twin=epochs")
        where = ["--bus", "sqlite:", "--once", "--least", 3, "--seeds", "900001-900002", *sets]
        return invoke("simic", "--state", self.state, "run", *where, *more, code=code)

    def published(self):
        """All updates, and the events of Simic and Tamiyo in all telemetry."""
        found = {PolicyUpdate: [], TelemetryBatch: []}
        handlers = {record: lambda it, _, record=record: found[record].append(it) for record in found}
        bus, replays = sqlite_bus(SqliteConfig()), Replays(None)
        reader = Reader(bus, "test", "c", handlers, signer=Signer(keyring(self.state)), replays=replays)
        while reader.poll():
            pass
        bus.close()
        told = [event for batch in found[TelemetryBatch] for it in batch.packets for event in it.events]
        return found[PolicyUpdate], {it.kind: it.data for it in told if str(it.kind).startswith("simic.")}

    def store(self):
        return PolicyStore(self.state, keyring(self.state))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("whole")
        patch.setenv("ESPER_STATE", str(folder / "state"))
        patch.delenv("ESPER_KEYS", raising=False)
        yield Whole(folder)


@pytest.mark.slow
class TestTheWhole:
    def test_reports_of_two_runs_are_learned_from_and_what_somebody_trained_further_is_not(self, whole):
        kept = {it["version"]: it for it in whole.status["reports"]}
        assert kept[whole.root]["reports"] == 3
        assert kept[whole.root]["steps"] == 3 * EPOCHS
        assert kept[f"{whole.root}+1"]["unused"] == "learned-since"
        (attempt,) = whole.status["attempts"]
        assert (attempt["parent"], attempt["reports"], attempt["outcome"]) == (whole.root, 3, "published")

    def test_the_challenger_was_validated_signed_promoted_and_published(self, whole):
        update = whole.champion["update"]
        assert whole.champion["chain"] == [update["version"], whole.root]
        assert (update["parent"], whole.champion["state"]) == (whole.root, "champion")
        assert update["validation"]["passed"]
        assert update["validation"]["trajectories"] == 2
        assert {"kl", "entropy", "mean paired difference"} <= set(update["validation"]["metrics"])
        updates, told = whole.heard
        (published,) = updates
        assert published.version == update["version"] == told["simic.promoted"]["version"]
        assert published.payload is not None
        assert PackedPolicy.unpacked(published.payload).checksum == published.checksum
        assert told["simic.published"]["challenger"] == update["version"]

    def test_it_decides_by_other_numbers_than_its_parent(self, whole):
        with_store = whole.store()
        one, other = (with_store.read(it)[1] for it in (whole.root, whole.champion["version"]))
        with_store.close()
        loaded = [safetensors.torch.load(it.tensors) for it in (one, other)]
        names = [name for name in loaded[0] if name.startswith("network/")]
        assert any(not torch.equal(loaded[0][name], loaded[1][name]) for name in names)

    def test_every_action_and_the_manifest_of_a_run_name_the_version(self, whole):
        champion = whole.champion["version"]
        assert {version for _, version in versions_in(whole.runs / "digits-2")} <= {whole.root}
        assert versions_in(whole.runs / "digits-3") <= {(0, whole.root), (1, f"{whole.root}+1")}
        assert {version for _, version in versions_in(whole.runs / "digits-4")} == {champion}
        manifest = json.loads((whole.runs / "digits-4/manifest.json").read_text())
        assert manifest["saved_policy"]["version"] == champion == manifest["config"]["policy"]["version"]
        assert (whole.runs / "digits-4/policy/first.safetensors").read_bytes() == (
            whole.state / f"policies/versions/{champion}/policy.safetensors"
        ).read_bytes()

    def test_without_new_reports_of_the_champion_nothing_is_learned(self, whole):
        assert "not enough to learn from" in whole.simic()
        assert len(json.loads(invoke("simic", "--state", whole.state, "status", "--json"))["attempts"]) == 1


def promote(whole, state):
    """Make the challenger the champion of another state directory, which has the root already."""
    theirs, mine = whole.store(), PolicyStore(state, keyring(state))
    update, packed, _ = theirs.read(whole.champion["version"])
    mine.add(sign(update, keyring(state)), packed, fits(load_plugins()))
    mine.promote(update.version, fits(load_plugins()))
    theirs.close()
    mine.close()
    return update.version


@pytest.fixture(scope="module")
def followed(whole, tmp_path_factory):
    """A training that begins with the first champion, takes the challenger, and goes back, for that earns less."""
    folder = tmp_path_factory.mktemp("followed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ESPER_STATE", str(folder / "state"))
        invoke("policy", "add", whole.runs / "digits-1/policy", "--promote")
        promoted = []
        taken = Following.round_over

        def round_over(following, over, *rest):
            """Between the first two rounds somebody promotes the challenger, which then earns less on each seed."""
            if not promoted:
                promoted.append(promote(whole, folder / "state"))
            if len(over) == 2:
                over[1]["returns"] = {host: value - 1.0 for host, value in over[0]["returns"].items()}
            taken(following, over, *rest)

        patch.setattr(Following, "round_over", round_over)
        begin = ["--policy", "champion", "--follow", "--rounds", 3, "--hosts", 8]
        output = invoke("train", "digits", *begin, *settings(*HOST, f"runs={folder}/runs", "epochs=1"))
        state = json.loads(invoke("policy", "ls", "--json"))
    return folder / "runs/digits-1", output, {it["version"]: it["state"] for it in state}


@pytest.mark.slow
class TestFollowing:
    """A training that goes on while champions come and go; eight hosts, so that a cycle is one round."""

    def test_it_swaps_between_rounds_and_rolls_back_what_does_worse(self, whole, followed):
        run, output, states = followed
        champion = whole.champion["version"]
        told = [it["data"]["policy"] for it in events(run) if "policy" in it["data"] and it["kind"] == "notice"]
        assert [it["change"] for it in told] == ["swapped", "rolled back"]
        assert (told[0]["version"], told[0]["before"]) == (champion, whole.root)
        assert 0.0 <= told[0]["agreement"] <= 1.0
        assert (told[1]["version"], told[1]["before"], told[1]["episodes"]) == (whole.root, champion, 8)
        assert told[1]["mean_paired_return"] == pytest.approx(-1.0)
        assert told[1]["standard_error"] == pytest.approx(0.0, abs=1e-9)
        assert states == {whole.root: "champion", champion: "rolled back"}
        assert output.splitlines()[-1].startswith(f"policy: {whole.root}")

    def test_every_action_names_the_version_that_decided(self, whole, followed):
        run, *_ = followed
        versions = [whole.root, whole.champion["version"], whole.root]
        assert versions_in(run) <= set(enumerate(versions))
        rounds = json.loads((run / "result.json").read_text())["training"]["rounds"]
        assert [it["version"] for it in rounds] == versions

    def test_the_random_seeds_come_again(self, followed):
        run, *_ = followed
        ends = [it for it in events(run) if it["kind"] == "epoch_completed" and it["host"] == "twin-1"]
        losses = [it["data"]["train"]["loss"] for it in ends]
        assert len(losses) == 3
        assert len(set(losses)) == 1

    def test_only_a_version_of_the_store_can_be_followed(self, whole, tmp_path):
        policy = ["--policy", whole.runs / "digits-1/policy"]
        result = CliRunner().invoke(
            cli, [*map(str, ["train", "digits", "--follow", *policy, *settings(*HOST, f"runs={tmp_path}")])]
        )
        assert result.exit_code == 2
        assert "can be followed" in result.output


@pytest.mark.slow
class TestBadUpdates:
    """Each is made from the real challenger, comes over the bus, and is refused by name; the champion stays."""

    @pytest.fixture
    def place(self, whole, tmp_path, monkeypatch):
        """A copy of the state directory, in which the root is the champion again and the challenger is not known."""
        shutil.copytree(whole.state, tmp_path / "state")
        monkeypatch.setenv("ESPER_STATE", str(tmp_path / "state"))
        for it in (tmp_path / "state/policies").glob("store.sqlite*"):
            it.unlink()
        invoke("policy", "add", whole.runs / "digits-1/policy", "--promote")
        return tmp_path / "state"

    def parts(self, whole, place):
        keys, store = keyring(place), whole.store()
        update, packed, _ = store.read(whole.champion["version"])
        store.close()
        return update, packed, keys

    def send(self, place, *messages):
        bus = sqlite_bus(SqliteConfig())
        Publisher(bus, Signer(keyring(place))).publish([update_draft(it) for it in messages])
        bus.close()

    def changed(self, packed, **tensors):
        """The challenger with other tensors, and a card that says so."""
        loaded = safetensors.torch.load(packed.tensors)
        length = int.from_bytes(packed.tensors[:8], "little")
        metadata = json.loads(packed.tensors[8 : 8 + length])["__metadata__"]
        data = safetensors.torch.save({**loaded, **tensors}, metadata=metadata)
        card = json.loads(packed.card) | {"digest": hashlib.sha256(data).hexdigest()}
        return PackedPolicy(card=json.dumps(card).encode(), tensors=data)

    def test_each_is_refused_by_name(self, whole, place):
        update, packed, keys = self.parts(whole, place)
        loaded = safetensors.torch.load(packed.tensors)
        name = next(it for it, tensor in sorted(loaded.items()) if it.startswith("network/") and tensor.ndim == 2)
        spoiled = self.changed(packed, **{name: torch.full_like(loaded[name], float("nan"))})
        wide = self.changed(packed, **{name: torch.zeros(1, 1)})
        worse = judge(([1.0, 1.0], [0.0, 0.0]), update.validation.metrics, Limits(seeds=2), changed=True)

        def made(policy, parent=whole.root, validation=update.validation):
            return in_messages(make_update(policy, parent, validation, keys), policy)[0]

        bad = {
            Refusal.FORGED: evolve(in_messages(update, packed)[0], id="forged", signature=b"0" * 32),
            Refusal.NOT_FINITE: made(spoiled),
            Refusal.OTHER_SHAPES: made(wide),
            Refusal.FAILED_VALIDATION: made(packed, validation=worse),
            Refusal.OTHER_PARENT: made(packed, parent=f"{whole.root[:-1]}{'1' if whole.root[-1] == '0' else '0'}"),
        }
        self.send(place, *bad.values())
        output = invoke("policy", "receive", "--bus", "sqlite:", "--promote", code=1)
        for refusal in bad:
            assert f": {refusal}" in output, (whole.root, output)
        # The one that Simic has published is still on the bus, is taken, and is the champion.
        assert f"champion: {update.version}" in output
        assert json.loads(invoke("policy", "show", "--json"))["version"] == update.version

    def test_what_is_worse_on_real_hosts_does_not_pass(self, whole, place, monkeypatch):
        """The challenger of a learner that is broken: it culls whatever it can."""
        monkeypatch.setattr("esper_app_simic.service.returns_of", lambda card, *_: self.earned(card, place))
        reports = ReplayStore(place)
        with reports._database.transaction() as sql:
            sql.execute("DELETE FROM attempts")
        reports.close()
        output = invoke(
            *("simic", "run", "--bus", "sqlite:", "--once", "--least", 3, "--seeds", "900001-900002", "--promote"),
            code=1,
        )
        assert "worse: its mean return is" in output
        assert json.loads(invoke("policy", "show", "--json"))["version"] == whole.root
        (attempt,) = json.loads(invoke("simic", "status", "--json"))["attempts"]
        assert attempt["outcome"] == "refused"

    def earned(self, card, place):
        return [0.5, 0.7] if place in card.parents else [0.4, 0.6]


@pytest.mark.slow
def test_the_plugins_refuse_what_they_cannot_use(whole):
    store = whole.store()
    update, packed, _ = store.read(whole.champion["version"])
    store.close()
    check = fits(load_plugins())
    check(update, packed)
    card = json.loads(packed.card)
    wide = evolve(packed, card=json.dumps(card | {"options": card["options"] | {"hidden": 32}}).encode())
    fewer = evolve(packed, card=json.dumps(card | {"blueprints": card["blueprints"][1:]}).encode())
    cases = [
        (update, wide, Refusal.OTHER_SHAPES),
        (update, fewer, Refusal.OTHER_CATALOGUE),
        (sign(evolve(update, observation_schema="other"), keyring(whole.state)), packed, Refusal.OTHER_SCHEMA),
        (update, evolve(packed, tensors=b"12345678"), Refusal.DAMAGED),
    ]
    for told, policy, refusal in cases:
        with pytest.raises(RefusedPolicyError) as caught:
            check(told, policy)
        assert caught.value.refusal is refusal


@pytest.mark.slow
def test_the_process_ends_when_it_is_asked_to(tmp_path):
    command = [sys.executable, "-m", "esper_app.cli", "simic", "--state", str(tmp_path), "run", "--bus", "sqlite:"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stdout))
    reader.start()
    try:
        deadline = time.monotonic() + 240
        while not lines and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        assert lines == ["simic: there is no champion yet; reports are kept\n"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()
        reader.join()
