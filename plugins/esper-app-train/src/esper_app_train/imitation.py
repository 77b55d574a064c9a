"""What recorded runs decided, taught to a policy: behaviour cloning from runs that are gone through again."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from esper_app.api import Resolved, new_policy, replay_run
from esper_app_train.explanation import compare
from esper_core.api import EsperError, Trajectory
from esper_learning import Imitates
from esper_runs.run_directory import MANIFEST, RunDirectory

#: Told of each run when it was gone through: what came of it, and how many events were compared with the record.
Told = Callable[[RunDirectory, Sequence[Trajectory], int], None]


def taught(
    resolved: Resolved,
    teachers: Sequence[tuple[RunDirectory, Resolved]],
    folder: Path,
    passes: int,
    told: Told,
) -> Mapping[str, float]:
    """Teach a policy what was decided in runs, and save it; return figures about it.

    Args:
        resolved: the configuration of a run with the policy.
        teachers: the runs, each with its configuration.
        folder: where it is saved, as the best policy of a training.
        passes: over all that was decided.
        told: after each run.

    Raises:
        EsperError: E202 if the policy cannot be taught, or a run has several rounds; E502 if a run had another
            catalogue; E518 if one cannot be repeated exactly.
    """
    made = new_policy(resolved.configuration, resolved.plugins)
    pupil = made.policy.actor
    if not isinstance(pupil, Imitates):
        what, fix = f"the policy {made.policy.name} cannot be taught", "choose one that can, such as --policy ppo"
        raise EsperError("E202", what, where="policy.name", fix=fix)
    found: list[Trajectory] = []
    for directory, run in teachers:
        trajectories, compared = decided(directory, run, made.assembly.catalogue.digest)
        told(directory, trajectories, compared)
        found += trajectories
    if not any(it.steps for it in found):
        raise EsperError("E202", "nothing was decided in these runs", fix="name runs in which something was")
    figures = pupil.imitate(found, passes=passes)
    names = [directory.name for directory, _ in teachers]
    made.save(folder, results={"taught by": names, "passes": passes, **figures})
    return figures


def decided(directory: RunDirectory, run: Resolved, catalogue: str) -> tuple[tuple[Trajectory, ...], int]:
    """Go through a run again; return its trajectories, and how many events were compared with the record."""
    if "training" in directory.read_json(MANIFEST):
        what, fix = f'"{directory.name}" is a training', "train its policy further: esper train TASK --policy PATH"
        raise EsperError("E202", what, where=str(directory.path), fix=fix)
    replay = replay_run(directory, run.configuration, run.plugins, (0, 0), keep=True)
    try:
        if replay.assembly.catalogue.digest != catalogue:
            why = f"its blueprints are {', '.join(replay.assembly.catalogue.names)}, maybe with other options"
            fix = "name runs with the same blueprints, or set policy.blueprints and their options as in the run"
            what = f'run "{directory.name}" has another catalogue than the policy'
            raise EsperError("E502", what, where=str(directory.path), why=why, fix=fix)
        while not replay.over:
            replay.step()
        return replay.trajectories(), compare(directory, replay.services.events)
    finally:
        replay.close()
