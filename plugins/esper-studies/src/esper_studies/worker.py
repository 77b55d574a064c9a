"""A process that runs what it is told to, one run after the other, until its standard input ends.

Orders and answers are lines of JSON. A worker whose study is gone ends with its run: nobody reads its answer, and there
is no further order.
"""

import json
import os
import sys
from typing import IO, Any

from esper_app.api import PluginOptions, execute
from esper_core.leyline.errors import EsperError, ExitCode, summary
from esper_studies.requests import Resolver, RunRequest
from esper_studies.trainers import trained

#: What these exit codes stand for is wrong with the request, or with what is installed: another run would fail as well.
ASKED_WRONGLY = frozenset({ExitCode.USAGE, ExitCode.LOCK_MISMATCH, ExitCode.PLUGIN, ExitCode.DATA})


def main() -> None:
    """Serve."""
    # Whatever prints to standard output must not get into the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(sys.stdin, answers)


def serve(orders: IO[str], answers: IO[str]) -> None:
    """Carry out each order, and answer it. Plugins are loaded once: all orders are of one study."""
    resolve: Resolver | None = None
    for line in orders:
        order = json.loads(line)
        resolve = resolve or Resolver(PluginOptions.from_data(order["plugins"]))
        answers.write(json.dumps(answer(RunRequest.from_data(order["request"]), resolve)) + "\n")
        answers.flush()


def answer(request: RunRequest, resolve: Resolver) -> dict[str, Any]:
    """Run one request; say how it failed, or what is wrong with it, if it did not come to an end.

    Returns:
        Nothing for a run that has written its result; ``failure``, a reason in a line, for one that failed;
        ``refused``, the parts of an `EsperError`, where the request is wrong.
    """
    try:
        resolved = resolve(request)
        if request.trainer is None:
            execute(resolved.configuration, resolved.plugins)
        else:
            trained(request, resolved)
    except EsperError as error:
        if error.exit_code in ASKED_WRONGLY:
            parts = {name: getattr(error, name) for name in ("code", "what", "where", "why", "fix")}
            return {"refused": parts}
        return {"failure": f"{error.code}: {summary(error)}"}
    except Exception as error:
        return {"failure": summary(error)}
    return {}


if __name__ == "__main__":
    main()
