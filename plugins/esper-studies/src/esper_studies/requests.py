"""What a study is asked for, and the digest by which a run is known."""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from esper_app.api import (
    ConfigOptions,
    PluginOptions,
    PluginSet,
    Resolved,
    ResolvedConfig,
    load_selected,
    read_policy_card,
)
from esper_app.cli.resolving import resolve_run_config
from esper_app.configuration.plugins_section import PluginsConfig

#: What says where a run is, how much is told of it and how it is saved: its result is the same whatever they are.
PLACE = ("runs", "name", "sinks", "telemetry", "executor", "checkpoints")

#: Of the digest, in names of directories.
_DIGITS = 12


@frozen(kw_only=True)
class RunRequest:
    """A run that a study is to have.

    Attributes:
        task: the task's name.
        options: its configuration, as on a command line. Where it is written is the study's affair.
        trainer: what trains instead of Esper's own loop: the name of an installed `esper_studies.trainers` trainer;
            None: Esper's own loop.
        trainer_options: what the trainer is told beside the configuration, as JSON can hold it.
    """

    task: str
    options: ConfigOptions = field(factory=ConfigOptions)
    trainer: str | None = None
    trainer_options: Mapping[str, Any] = field(factory=dict)

    @classmethod
    def of(cls, task: str, settings: Mapping[str, Any]) -> "RunRequest":
        """Return the request of a run with settings by dotted key, such as ``{"optimizer.lr": 0.05}``."""
        return cls(task=task, options=ConfigOptions(settings=dict(settings)))

    def with_sets(self, *sets: str) -> "RunRequest":
        """Return the request with further settings, as texts for ``--set``; they go before what is there."""
        return evolve(self, options=evolve(self.options, sets=(*self.options.sets, *sets)))

    def as_data(self) -> dict[str, Any]:
        """Return it as JSON can hold it, for another process."""
        file = self.options.file
        return {
            "task": self.task,
            "file": None if file is None else str(file.absolute()),
            "settings": self.options.settings,
            "sets": [*self.options.sets],
            "trainer": self.trainer,
            "trainer_options": dict(self.trainer_options),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> "RunRequest":
        """Return what `as_data` has made plain."""
        file = None if data["file"] is None else Path(data["file"])
        options = ConfigOptions(file=file, settings=dict(data["settings"]), sets=tuple(data["sets"]))
        return cls(
            task=data["task"],
            options=options,
            trainer=data["trainer"],
            trainer_options=data["trainer_options"],
        )


class Resolver:
    """Resolves requests, and loads plugins once for all those with the same section ``plugins``.

    Args:
        plugins: which plugins the runs may use.
    """

    def __init__(self, plugins: PluginOptions) -> None:
        self._plugins = plugins
        self._loaded: dict[PluginsConfig, PluginSet] = {}

    def __call__(self, request: RunRequest) -> Resolved:
        """Return the plugins and the configuration of a request. Raises EsperError E201 to E204 and of plugins."""
        return resolve_run_config(request.task, request.options, self._load)

    def _load(self, table: PluginsConfig) -> PluginSet:
        if table not in self._loaded:
            self._loaded[table] = load_selected(self._plugins, table)
        return self._loaded[table]


def request_digest(configuration: ResolvedConfig, root: Path, request: RunRequest | None = None) -> str:
    """Return the digest of all that decides the result of a run, but for the plugins' own code.

    Args:
        configuration: the run's, complete.
        root: the study's directory. Paths below it are taken relative to it, so that a study can be moved. Of a saved
            policy the digest of its tensors counts as well; other files that the configuration names are taken as they
            are named.
        request: what was asked for, where another trainer than Esper's own loop is to train.

    Raises:
        EsperError: E517 if a saved policy cannot be read.
    """
    config = configuration.config
    tree = {key: value for key, value in config.tree().items() if key not in PLACE}
    if config.policy.saved is not None:
        tree["saved policy"] = read_policy_card(Path(config.policy.saved)).digest
    if request is not None and request.trainer is not None:
        tree["trainer"] = {"name": request.trainer, **request.trainer_options}
    text = json.dumps(_relative(tree, str(root.absolute())), sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:_DIGITS]


def _relative(value: Any, root: str) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _relative(it, root) for key, it in value.items()}
    if isinstance(value, list | tuple):
        return [_relative(it, root) for it in value]
    if isinstance(value, str) and value.startswith(f"{root}/"):
        return value.removeprefix(f"{root}/")
    return value
