"""A compose file that runs ``esper up`` in a container."""

import json
from pathlib import Path
from typing import Any

#: Seconds beyond the drain before what is left is killed.
_GRACE = 15


def compose_file(image: str, machine: Path | None, port: int, drain_seconds: float) -> str:
    """Return the file. It is JSON, which is YAML as well.

    Args:
        image: has Esper installed.
        machine: the file that names the services; it is shown to the container, read-only.
        port: where ``/health`` answers, in the container and on this machine alone.
        drain_seconds: how long the services have to end.
    """
    probe = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/health', timeout=5)"
    command = ["esper", "up", "--state", "/esper/state", "--http", f"0.0.0.0:{port}"]
    volumes: list[Any] = ["state:/esper/state", "runs:/esper/runs"]
    if machine is not None:
        command += ["--config", "/esper/machine.toml"]
        volumes.append({"type": "bind", "source": str(machine), "target": "/esper/machine.toml", "read_only": True})
    esper = {
        "image": image,
        "command": command,
        "working_dir": "/esper",
        # Reaps what services leave behind.
        "init": True,
        "restart": "on-failure",
        "stop_grace_period": f"{round(drain_seconds) + _GRACE}s",
        "volumes": volumes,
        "ports": [f"127.0.0.1:{port}:{port}"],
        "healthcheck": {"test": ["CMD", "python3", "-c", probe], "interval": "10s", "timeout": "6s", "retries": 3},
    }
    found = {"version": "3.7", "services": {"esper": esper}, "volumes": {"state": {}, "runs": {}}}
    # A dollar sign begins a variable.
    return json.dumps(found, indent=2).replace("$", "$$") + "\n"
