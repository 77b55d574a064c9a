"""What else plugin API 1.0 has: observers, a subcommand, and an answer to who understands a model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from esper_core.api import Evidence, SiteRequest, Transition
from esper_core.hooks import hookimpl

ESPER_API = "1.0"

seen: list[str] = []
directories: list[Path] = []


@hookimpl
def esper_run_start(manifest: Mapping[str, Any]) -> None:
    directories[:] = [Path(manifest["directory"])]
    seen[:] = [f"start {directories[0].name}"]


@hookimpl
def esper_epoch_end(host: str, evidence: Evidence) -> None:
    seen.append(f"{host} epoch {evidence.epoch}")


@hookimpl
def esper_seed_transition(host: str, transition: Transition) -> None:
    seen.append(f"{host} {transition.source.name} -> {transition.target.name}")


@hookimpl
def esper_run_finish(result: Mapping[str, Any]) -> None:
    seen.append(f"finish {result['outcome']}")
    (directories[0] / "v1-observed.json").write_text(json.dumps(seen))


@hookimpl
def esper_adapt_host(model):
    if type(model).__name__ == "VersionOne":
        return [SiteRequest(path="body", id="body")]
    return None


@hookimpl
def esper_commands(cli) -> None:
    import click

    @cli.command("version-one")
    def version_one() -> None:
        """Say hello."""
        click.echo("hello from 1.0")
