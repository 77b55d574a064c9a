"""What is written about a user's own training: its manifest, its result, and the directory that holds them."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from attrs import define, frozen

from esper_core.leyline.errors import EsperError
from esper_core.leyline.records import plain
from esper_core.leyline.reports import FinalReport
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Registered

_MANIFEST, _RESULT = "manifest.json", "result.json"


@frozen
class _Config:
    """What a manifest takes from a configuration."""

    seed: int
    data: Mapping[str, Any]

    def tree(self) -> dict[str, Any]:
        return dict(self.data)


@define(kw_only=True)
class RunRecord:
    """The record of one training in a user's own loop; with a directory it is one that `esper show` reads.

    Attributes:
        name: of the model's class.
        config: what was chosen, in the shape of a configuration file.
        catalogue: the catalogue's names and options, in order.
        plugins: the loaded plugins.
        used: the components that the training uses.
        path: the run's directory; None: nothing is written but what sinks write.
    """

    name: str
    config: Mapping[str, Any]
    catalogue: Sequence[Mapping[str, Any]]
    plugins: PluginSet
    used: Sequence[Registered]
    path: Path | None
    _directory: Any = None

    def __attrs_post_init__(self) -> None:
        if self.path is not None:
            _application()

    def begin(self) -> dict[str, Any]:
        """Make the directory, if there shall be one, and return the manifest.

        Raises:
            EsperError: E501 if there is such a run already, or it cannot be written.
        """
        if self.path is None:
            return self._manifest()
        path = self.path.absolute()
        self._directory = _application().create_run_directory(path.parent, path.name, path.name)
        manifest = self._manifest()
        self._directory.write_json(_MANIFEST, manifest)
        return manifest

    def resume(self, epoch: int, first_event: int) -> dict[str, Any]:
        """Go on before an epoch, in the directory as it is or in a new one, and return the manifest.

        Raises:
            EsperError: E501 if the directory cannot be written.
        """
        if self.path is not None and (self.path / _MANIFEST).is_file():
            self._directory = _application().RunDirectory(self.path.absolute())
            manifest = json.loads((self.path / _MANIFEST).read_text(encoding="utf-8"))
        else:
            manifest = self.begin()
        manifest["resumed"] = [*manifest.get("resumed", []), {"epoch": epoch, "command": []}]
        if self._directory is not None:
            self._directory.write_json(_MANIFEST, manifest)
        return {**manifest, "resumed_at": first_event}

    def result(self, final: FinalReport, outcome: str) -> dict[str, Any]:
        """Return the result as plain data, in the shape of a run's; what was not measured is None."""
        tested = final.test if final.test.samples else None
        host = {
            "epochs": final.epochs,
            "test_accuracy": tested.accuracy if tested else None,
            "test_loss": tested.loss if tested else None,
            "test_samples": final.test.samples,
            "parameters": final.parameters,
            "host_parameters": final.host_parameters,
            "forward_flops": final.forward_flops,
            "train_seconds": final.train_seconds,
            "measure_seconds": final.measure_seconds,
        }
        return {
            "task": self.name,
            "outcome": outcome,
            "test_share_of": None,
            "hosts": {final.host: host},
            "difference": None,
            "seeds": [{"host": final.host, **plain(seed)} for seed in final.seeds],
        }

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the result, if there is a directory. Raises EsperError E501."""
        if self._directory is not None:
            self._directory.write_json(_RESULT, result)

    def _manifest(self) -> dict[str, Any]:
        config = {
            "task": {"name": self.name},
            "host": {"name": self.name},
            "twin": False,
            "telemetry": "normal",
            **self.config,
        }
        if self._directory is None:
            return {
                "name": self.name,
                "directory": None,
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "seed": config["seed"],
                "config": config,
                "catalogue": [*self.catalogue],
            }
        application = _application()
        records = self.plugins.records
        manifest: dict[str, Any] = application.build_manifest(
            application.RunFacts(
                name=self._directory.name,
                directory=str(self._directory.path),
                config=_Config(config["seed"], config),
                plugins=records,
                used=self.used,
                observing=[n for r in records if self.plugins.may_observe(n := r.origin.plugin, frozenset())],
                blueprints=self.catalogue,
                data={},
            )
        )
        return manifest


def _application() -> Any:
    """Return what the application offers for run directories. Only who writes one needs it installed."""
    try:
        directory = import_module("esper_runs.run_directory")
        manifest = import_module("esper_app.execution.manifest")
    except ModuleNotFoundError as error:
        raise EsperError(
            "E102",
            "a run directory needs the application",
            where="grow(run_directory=...)",
            why=f"{error.name} is not installed",
            fix="pip install esper-app, or leave run_directory out",
        ) from error
    return SimpleNamespace(
        RunDirectory=directory.RunDirectory,
        create_run_directory=directory.create_run_directory,
        RunFacts=manifest.RunFacts,
        build_manifest=manifest.build_manifest,
    )
