"""Offline Simic as a process: it takes reports in, learns when there are enough, validates, and publishes."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import numpy as np
from attrs import field, frozen, validators

from esper_app.api import PluginSet
from esper_app_simic.fitting import fits
from esper_app_simic.held_out import HeldOut, StoppedError, returns_of
from esper_app_simic.learning import Challenger, learn
from esper_app_simic.tabular import OnTable, Table
from esper_core.api import EsperError, derive_seed
from esper_leyline_proto.learning import FieldReportPacket, PolicyUpdate, PolicyValidation
from esper_messaging.outbox import Outbox
from esper_messaging.reading import Handle, Reader, joined
from esper_messaging.sending import send_batch
from esper_oona.api import Bus, Draft, Keyring, Publisher, Replays, Signer
from esper_simic.api import (
    CARD,
    LEARNING_FAILED,
    PUBLISHED,
    TENSORS,
    VALIDATION_FAILED,
    Attempt,
    Intake,
    Limits,
    PolicyFacts,
    PolicyStore,
    RefusedPolicyError,
    ReplayStore,
    Sample,
    attempt_draft,
    in_messages,
    judge,
    learning_failures,
    make_update,
    promoted_draft,
    refused_draft,
    table_failures,
    update_draft,
)

#: The group of consumers that share the reports of a bus.
GROUP = "simic"

#: How strongly priorities decide what is replayed, and how much of the bias weights take back (Schaul et al., 2016).
ALPHA, BETA = 0.6, 0.4

_IDLE_SECONDS = 0.2


@frozen(kw_only=True)
class Settings:
    """What Simic does.

    Attributes:
        least: it learns when so many new reports of the champion are there.
        most: from the newest so many of them.
        replay: and from so many that were drawn of the versions before, by priority; 0: from none.
        limits: what a challenger must come to.
        held_out: where it is validated.
        promote: make a challenger that has passed the champion.
        on_table: also tried on a table of trainings; None: it is not.
    """

    least: int = field(default=4, validator=validators.ge(1))
    most: int = field(default=64, validator=validators.ge(1))
    replay: int = field(default=0, validator=validators.ge(0))
    limits: Limits = field(factory=Limits)
    held_out: HeldOut = field(factory=HeldOut)
    promote: bool = False
    on_table: OnTable | None = None


class Simic:
    """Offline Simic in one process.

    Args:
        bus: where reports come from, and where it publishes.
        address: of the bus, without options.
        state: the state directory.
        keys: sign and verify.
        plugins: the loaded plugins.
        settings: what it does.
        say: is told in a line what happens.
    """

    def __init__(
        self,
        bus: Bus,
        address: str,
        state: Path,
        keys: Keyring,
        plugins: PluginSet,
        settings: Settings,
        say: Callable[[str], None],
    ) -> None:
        self._plugins, self._settings, self._say, self._keys = plugins, settings, say, keys
        self._table = None if settings.on_table is None else Table(settings.on_table, plugins)
        self._stop = threading.Event()
        self._fits = fits(plugins)
        self._champion: tuple[str, PolicyFacts] | None = None
        self._refused: dict[str, int] = {}
        self.policies, self.reports = PolicyStore(state, keys), ReplayStore(state)
        consumer = f"{GROUP}-{os.getpid()}-{uuid4().hex[:8]}"
        signer = Signer(keys)
        self._replays = Replays(state / "replays.sqlite")
        self._outbox = Outbox(state, address, consumer)
        self._publisher = Publisher(bus, signer, name=GROUP)
        handlers: dict[type, Handle] = {FieldReportPacket: Intake(self.reports, joined).take}
        self._reader = Reader(bus, GROUP, consumer, handlers, signer=signer, replays=self._replays)

    def stop(self) -> None:
        """Come to an end: what is being learned is given up, and learned again by the next process."""
        self._stop.set()

    def run(self) -> None:
        """Take reports in and learn, until asked to stop."""
        told = False
        while not self._stop.is_set():
            found = self._poll()
            if not told and self.policies.champion() is None:
                self._say("there is no champion yet; reports are kept")
                told = True
            if not found and self.learn_if_enough() is None:
                self._stop.wait(_IDLE_SECONDS)

    def take_in(self) -> int:
        """Take in all that is on the bus; return how many messages there were."""
        total = 0
        while not self._stop.is_set() and (found := self._poll()):
            total += found
        return total

    def learn_if_enough(self) -> str | None:
        """Learn once if there are enough new reports; return what came of it, an outcome of `Attempt`, or None."""
        champion = self.policies.champion()
        if champion is None:
            return None
        # It is asked several times a second, and reading a policy verifies all of it.
        if self._champion is None or self._champion[0] != champion:
            self._champion = champion, self.policies.read(champion)[2]
        facts = self._champion[1]
        if self.reports.new_reports(champion, facts) < self._settings.least:
            return None
        try:
            return self._learn(champion, facts)
        except StoppedError:
            return None

    def close(self) -> None:
        """Send what is left, if the bus answers, and close all files."""
        self._send()
        for it in (self._outbox, self._replays, self.reports, self.policies):
            it.close()

    def _poll(self) -> int:
        self._send()
        try:
            return self._reader.poll()
        except EsperError as error:
            if error.code != "E611":
                raise
            return 0
        finally:
            self._say_what_is_refused()

    def _say_what_is_refused(self) -> None:
        for reason, count in (found := self._reader.refused).items():
            if new := count - self._refused.get(reason, 0):
                self._say(f"{new} messages were refused: {reason}; esper bus dead shows them")
        self._refused = found

    def _learn(self, champion: str, facts: PolicyFacts) -> str:
        window, newest = self.reports.window(champion, facts, self._settings.most)
        self._say(f"{champion} learns from {len(window)} reports")

        def tried(outcome: str, challenger: str | None, drafts: list[Draft], why: str = "") -> str:
            self._outbox.keep(drafts)
            self.reports.tried(
                Attempt(
                    at=time.time(),
                    parent=champion,
                    challenger=challenger,
                    reports=len(window),
                    newest=newest,
                    outcome=outcome,
                    why=why,
                )
            )
            self._say(f"{challenger or champion}: {outcome}{f', {why}' if why else ''}")
            self._send()
            return outcome

        try:
            sample = self._sample(champion, facts, newest)
            made = learn(self.policies.card_path(champion), self._plugins, window, sample)
            validation = self._validated(champion, made)
        except StoppedError:
            raise
        except Exception as error:  # of a policy's learner too
            # Not these reports: they would fail again. The next ones may not.
            why = _why(error)
            return tried("failed", None, [attempt_draft(LEARNING_FAILED, champion, None, len(window), None, why)], why)
        if made.priorities:
            self.reports.set_priorities(made.priorities.items())
        update = make_update(made.packed, champion, validation, self._keys)
        if not validation.passed:
            draft = attempt_draft(VALIDATION_FAILED, champion, update.version, len(window), validation)
            return tried("refused", update.version, [draft], "; ".join(validation.failures))
        return self._published(champion, update, made, len(window), tried)

    def _published(
        self,
        champion: str,
        update: PolicyUpdate,
        made: Challenger,
        reports: int,
        tried: Callable[..., str],
    ) -> str:
        """What is in the store before others hear of it can be found by them."""
        try:
            self.policies.add(update, made.packed, self._fits)
        except RefusedPolicyError as error:
            return tried("refused", update.version, [refused_draft(update.version, error)], error.why or error.what)
        drafts = [
            *map(update_draft, in_messages(update, made.packed)),
            attempt_draft(PUBLISHED, champion, update.version, reports, update.validation),
        ]
        if self._settings.promote:
            try:
                self.policies.promote(update.version, self._fits, because="it has passed its validation")
                drafts.append(promoted_draft(update.version, champion))
            except RefusedPolicyError as error:
                drafts.append(refused_draft(update.version, error))
                return tried("published", update.version, drafts, f"but {error.what}: {error.why}")
        return tried("published", update.version, drafts)

    def _sample(self, champion: str, facts: PolicyFacts, newest: int) -> Sample | None:
        before = self.policies.chain(champion)[1:]
        if not self._settings.replay or not before:
            return None
        generator = np.random.default_rng(derive_seed(newest, "replay", champion))
        return self.reports.sample(before, facts, self._settings.replay, alpha=ALPHA, beta=BETA, generator=generator)

    def _validated(self, champion: str, made: Challenger) -> PolicyValidation:
        where, should_stop, limits = self._settings.held_out, self._stop.is_set, self._settings.limits
        card = self.policies.card_path(champion)
        # Hosts are what takes long: none is trained where figures alone say no.
        if learning_failures(made.figures, limits, changed=made.changed):
            return judge(None, made.figures, limits, changed=made.changed)
        with TemporaryDirectory() as name:
            folder = Path(name)
            (folder / CARD).write_bytes(made.packed.card)
            (folder / TENSORS).write_bytes(made.packed.tensors)
            cards = (card, folder / CARD)
            table = None if self._table is None else self._table.compare(*cards)
            if table is not None and table_failures(table, limits):
                return judge(None, made.figures, limits, changed=made.changed, table=table)
            one, other = (returns_of(it, self._plugins, where, should_stop) for it in cards)
        return judge((one, other), made.figures, limits, changed=made.changed, table=table)

    def _send(self) -> None:
        try:
            while send_batch(self._outbox, self._publisher)[0]:
                pass
        except EsperError as error:
            if error.code not in ("E611", "E613"):
                raise


def _why(error: Exception) -> str:
    if not isinstance(error, EsperError):
        first, *_ = str(error).splitlines() or [""]
        return f"{type(error).__name__}: {first}"
    return f"{error.what}: {error.why}" if error.why else error.what
