"""The run directory of a training in a user's own loop, for `esper_core.grow(run_directory=...)`."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, frozen

from esper_app.execution.manifest import RunFacts, build_manifest
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Registered
from esper_runs.run_directory import MANIFEST, RESULT, RunDirectory, create_run_directory


@frozen
class _Config:
    """What a manifest takes from a configuration."""

    seed: int
    data: Mapping[str, Any]

    def tree(self) -> dict[str, Any]:
        return dict(self.data)


@define
class TrainingFiles:
    """Manifest and result of one training; sinks write the rest.

    Attributes:
        path: the run's directory.
        plugins: the loaded plugins.
        used: the components that the training uses.
    """

    path: Path
    plugins: PluginSet
    used: Sequence[Registered]

    def begin(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Make the directory and write the manifest: what is given, and what it takes to have the same result.

        Raises:
            EsperError: E501 if there is such a run already, or it cannot be written.
        """
        directory = create_run_directory(self.path.parent, self.path.name, self.path.name)
        records = self.plugins.records
        written = build_manifest(
            RunFacts(
                name=directory.name,
                directory=str(directory.path),
                config=_Config(manifest["seed"], manifest["config"]),
                plugins=records,
                used=self.used,
                observing=[n for r in records if self.plugins.may_observe(n := r.origin.plugin, frozenset())],
                blueprints=manifest["catalogue"],
                data={},
            )
        )
        written["sites"] = [*manifest.get("sites", ())]  # found out, where a run's host declares them
        directory.write_json(MANIFEST, written)
        return written

    def resume(self, manifest: Mapping[str, Any], epoch: int) -> dict[str, Any]:
        """Go on before an epoch, in the directory as it is or in a new one. Raises EsperError E501, E508."""
        there = os.path.lexists(self.path / MANIFEST)
        written = RunDirectory(self.path).read_json(MANIFEST) if there else self.begin(manifest)
        before = written.get("resumed")
        written["resumed"] = [*(before if isinstance(before, list) else []), {"epoch": epoch, "command": []}]
        RunDirectory(self.path).write_json(MANIFEST, written)
        return dict(written)

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the result. Raises EsperError E501."""
        RunDirectory(self.path).write_json(RESULT, result)
