"""What messages weigh and what converting them costs: `python tests/benchmarks/wire_cost.py [--epochs 40]`.

A real host with three slots is grown under `ppo` for one round. Shown are its last state packet, the field report of
the round with the whole trajectory, a command, an event and an envelope: the bytes on the wire, the bytes after zlib,
and the microseconds of CPU time from a record to bytes and back (the least of several rounds, one thread).
"""

import argparse
import importlib.util
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import torch
from attrs import evolve
from torch import nn

from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.learning import Trajectory
from esper_core.leyline.protocols import HostBuild
from esper_core.leyline.reports import HostReport
from esper_core.leyline.sites import SiteRequest
from esper_core.simic.rounds import run_rounds
from esper_core.tamiyo.policy import Policy
from esper_leyline_proto.commands import AdaptationCommand
from esper_leyline_proto.conversion import from_bytes, to_bytes
from esper_leyline_proto.learning import FieldReportPacket
from esper_leyline_proto.messages import enclose
from esper_leyline_proto.state import state_packet
from esper_leyline_proto.telemetry import TelemetryBatch, TelemetryPacket
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.plugin import esper_policies
from esper_policy_ppo.policy import PPO

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Keeps(PPO):
    """The policy that keeps what it is given to learn from, and learns nothing."""

    given: tuple[Trajectory, ...] = ()

    def learn(self, trajectories: Any) -> dict[str, float]:
        self.given = tuple(trajectories)
        return {}


def build_host() -> HostBuild:
    """A small network for the task of the tests, with three slots."""
    blocks = [nn.Sequential(nn.Conv2d(inputs, 4, 3, padding=1), nn.ReLU()) for inputs in (1, 4, 4)]
    host = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(4 * 36, 4))
    return HostBuild(module=host, sites=tuple(SiteRequest(path=str(i), id=f"block{i}") for i in range(3)))


def grown(epochs: int) -> tuple[HostReport, Trajectory, list[Any]]:
    """The last report of a host, its trajectory, and the events of its round."""
    path = Path(__file__).parents[1] / "simic" / "bandit.py"
    spec = importlib.util.spec_from_file_location("esper_bench_bandit", path)
    bandit = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bandit)
    bandit.EPOCHS, bandit.HOSTS = epochs, 1
    plan = evolve(bandit.small_plan(), build=build_host)
    catalogue = Catalogue(tuple(factory.entry for factory in plan.seed_factories.values()))
    actor = Keeps(PPOConfig(rounds=1, hidden=64), catalogue)
    policy = Policy(actor=actor, name="ppo", capabilities=next(iter(esper_policies())).capabilities)
    training = bandit.Training(folder=Path(), plan=plan, policy=policy)
    staged = []
    run_rounds(
        lambda number: staged.append(training.make_round(number)) or staged[-1],
        policy,
        training.around,
        rounds=1,
        after_epoch=lambda *_: None,
    )
    return staged[0].rollout.reports[0], actor.given[0], training.around.events


def messages(epochs: int) -> dict[str, Any]:
    """The records to measure, by what they are."""
    report, trajectory, events = grown(epochs)
    step = next(step for step in trajectory.steps if step.verdicts)
    command = AdaptationCommand(
        run="run",
        host=report.host,
        round=0,
        epoch=step.epoch,
        issued_at=NOW,
        action=step.decision.actions[0],
        verdict=step.verdicts[0],
    )
    seeds = tuple(seed for step in trajectory.steps for seed in step.seed_reports)
    packet = FieldReportPacket(id="1", run="run", issued_at=NOW, seeds=seeds, trajectory=trajectory)
    event = TelemetryPacket(id="1", issued_at=NOW, source="tolaria", run="run", events=tuple(events[-1:]))
    state = state_packet(report, id="1", run="run", round=0, issued_at=NOW)
    return {
        f"SystemStatePacket, {len(state.seeds)} slots": state,
        f"FieldReportPacket, {len(trajectory.steps)} steps, {len(seeds)} seeds": packet,
        "AdaptationCommand": command,
        f"TelemetryBatch, 1 event ({events[-1].kind})": TelemetryBatch(packets=(event,)),
        "Envelope around the command": enclose(command, key="run/host", producer="tamiyo"),
    }


def least_micros(call: Callable[[], Any], rounds: int = 7) -> float:
    """Microseconds of CPU time of one call: the least of several rounds of at least 50 ms."""
    count = 1
    while (took := _seconds(call, count)) < 0.05:
        count *= 4
    return 1e6 * min(took, *(_seconds(call, count) for _ in range(rounds - 1))) / count


def _seconds(call: Callable[[], Any], count: int) -> float:
    began = process_time()
    for _ in range(count):
        call()
    return process_time() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=40)
    torch.set_num_threads(1)
    print("| message | bytes | after zlib | record to bytes, µs | bytes to record, µs |\n|---|---|---|---|---|")
    for name, record in messages(parser.parse_args().epochs).items():
        data = to_bytes(record)
        there, back = least_micros(partial(to_bytes, record)), least_micros(partial(from_bytes, type(record), data))
        print(f"| {name} | {len(data):,} | {len(zlib.compress(data)):,} | {there:,.0f} | {back:,.0f} |")


if __name__ == "__main__":
    main()
