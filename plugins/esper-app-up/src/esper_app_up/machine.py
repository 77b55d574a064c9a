"""The services that a command line names, as a file would."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from esper_app.api import PluginSet
from esper_core.api import EsperError
from esper_core.specs import TaskSpec
from esper_weatherlight.api import Machine, ServiceSpec, machine_file

#: What a machine without a file has, as far as it is installed.
USUAL = ("nissa", "forge")


def machine_data(
    file: Path | None,
    plugins: PluginSet,
    *,
    bus: str | None = None,
    tasks: Sequence[str] = (),
    http: str | None = None,
) -> dict[str, Any]:
    """Return what `read_machine` reads.

    Args:
        file: names the services; None: the usual ones.
        plugins: the loaded plugins.
        bus: in place of the file's; a bare scheme with a server, such as ``redis:``, is a server of its own.
        tasks: for each, a run.
        http: HOST:PORT in place of the file's.

    Raises:
        EsperError: E203 if the file cannot be read, E202 if it has a server already, or a service of a run's name, or
            if `http` is no address with a port; E204 if a task is not known.
    """
    installed = {it.spec.name for it in plugins.registry[ServiceSpec.kind]}
    data = {"services": {it: {} for it in USUAL if it in installed}} if file is None else machine_file(file)
    services: dict[str, Any] = data.setdefault("services", {})
    if not isinstance(services, dict):
        return data
    if bus is not None:
        data.pop("bus", None)
        scheme, colon, place = bus.partition(":")
        if place or scheme == "sqlite" or not colon:
            data["bus"] = bus
        else:
            _add(services, "bus", {"service": "bus-server", "scheme": scheme}, "--bus")
    if http is not None:
        host, colon, port = http.rpartition(":")
        if not colon or not port.isdecimal():
            raise EsperError("E202", f'"{http}" is not HOST:PORT', where="--http", fix="--http 127.0.0.1:8790")
        data["http"] = {"address": host.strip("[]"), "port": int(port)}
    for number, task in enumerate(tasks):
        plugins.registry.get(TaskSpec.kind, task, where="--run")
        name = task if tasks.index(task) == number else f"{task}-{number + 1}"
        _add(services, name, {"service": "run", "task": task, "once": False}, "--run")
    return data


def refuse_idle(machine: Machine, file: Path | None, *, until_done: bool) -> None:
    """Raise EsperError E202 for a machine that would do nothing, or that is to end and never would."""
    where = None if file is None else str(file)
    if not machine.members:
        raise EsperError("E202", "there are no services", where=where, fix="name one: [services.nissa], or --run TASK")
    if until_done and not any(it.spec.ends for it in machine.members):
        what = "no service is a run, so it would never end"
        raise EsperError("E202", what, where="--until-done", fix="add one with --run TASK, or leave it out")


def _add(services: dict[str, Any], name: str, table: dict[str, Any], where: str) -> None:
    if name in services:
        fix = f"leave {where} out, or give the service in the file another name"
        raise EsperError("E202", f'the file has a service "{name}" already', where=where, fix=fix)
    services[name] = table
