"""What is written about a user's own training: its manifest, its result, and the directory that holds them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import define

from esper_core.leyline.figures import host_figures
from esper_core.leyline.optional import optional_part
from esper_core.leyline.records import plain
from esper_core.leyline.reports import FinalReport
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.records import Registered


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
    _files: Any = None

    def __attrs_post_init__(self) -> None:
        if self.path is not None:
            application = optional_part(
                "esper_app.api",
                "a run directory needs the application",
                where="grow(run_directory=...)",
                otherwise="leave run_directory out",
            )
            self._files = application.training_files(self.path, self.plugins, self.used)

    def begin(self, sites: Sequence[str]) -> dict[str, Any]:
        """Make the directory, if there shall be one, and return the manifest.

        Args:
            sites: what each site of the network was found to be, in words.

        Raises:
            EsperError: E501 if there is such a run already, or it cannot be written.
        """
        manifest: dict[str, Any] = {**self._manifest(), "sites": [*sites]}
        return manifest if self._files is None else self._files.begin(manifest)

    def resume(self, epoch: int, first_event: int) -> dict[str, Any]:
        """Go on before an epoch, in the directory as it is or in a new one, and return the manifest.

        Raises:
            EsperError: E501 if the directory cannot be written.
        """
        manifest = self._manifest()
        if self._files is not None:
            manifest = self._files.resume(manifest, epoch)
        return {**manifest, "resumed_at": first_event}

    def result(self, final: FinalReport, outcome: str, measured: str) -> dict[str, Any]:
        """Return the result as plain data, in the shape of a run's; what was not measured is None.

        Args:
            final: of the host.
            outcome: how the training ended.
            measured: what loss and metric were found to be, in words.
        """
        return {
            "task": self.name,
            "outcome": outcome,
            "measured": measured,
            "test_share_of": None,
            "hosts": {final.host: host_figures(final)},
            "difference": None,
            "seeds": [{"host": final.host, **plain(seed)} for seed in final.seeds],
        }

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write the result, if there is a directory. Raises EsperError E501."""
        if self._files is not None:
            self._files.finish(result)

    def _manifest(self) -> dict[str, Any]:
        named = {"name": self.name}
        return {
            "name": self.name,
            "directory": None,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "seed": self.config["seed"],
            "config": {"task": named, "host": named, "twin": "none", "telemetry": "normal", **self.config},
            "catalogue": [*self.catalogue],
        }
