"""The process in which a blueprint is probed: ``python -m esper_app_catalogue.probe_process``."""

import json
import os
import signal
import threading
from collections.abc import Collection, Iterator
from typing import Any

import torch

from esper_app.api import PluginOptions, load_selected
from esper_karn.api import CatalogueEntry, entry_of
from esper_testing.all_checks import CHECKS
from esper_testing.blueprint_subject import BlueprintSubject
from esper_testing.check import Check, CheckFailure, NotApplicable

#: The longest message of a finding.
_LONGEST = 500


def main() -> None:
    """Read from standard input what is to be probed, and say on standard output what each probe found."""
    # What a blueprint prints must not stand between the answers.
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)
        torch.set_num_threads(1)
        question = json.loads(_first_line())
        threading.Thread(target=_end_with_input, daemon=True).start()
        plugins = load_selected(PluginOptions.from_data(question["plugins"]))
        entry = entry_of(plugins.registry, question["blueprint"])
        for answer in probe(entry, entry.options(question["options"]), question["checks"]):
            answers.write(f"{json.dumps(answer)}\n")


def _first_line() -> bytes:
    """Read the question, and nothing behind it. Not `sys.stdin`, whose lock would be held when the interpreter ends."""
    line = bytearray()
    while (read := os.read(0, 1)) not in (b"", b"\n"):
        line += read
    return bytes(line)


def _end_with_input() -> None:
    """When the process is gone that has asked, so is this one, with what it has started."""
    while os.read(0, 1):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(1)


def probe(entry: CatalogueEntry, options: Any, checks: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Yield each check twice: when it begins, with an empty outcome, and with its outcome and what was seen.

    Args:
        entry: the blueprint's.
        options: its options, None if it has none.
        checks: ids of conformance checks.

    Raises:
        KeyError: if there is no such check.
    """
    known: dict[str, Check] = {check.id: check for check in CHECKS}
    subject = BlueprintSubject(spec=entry.spec, config=options)
    for check in (known[id] for id in checks):
        yield check.id, "", ""
        yield check.id, *_outcome(check, subject)


def _outcome(check: Check, subject: BlueprintSubject) -> tuple[str, str]:
    if (why := check.excuse(subject.spec)) is not None:
        return "not probed", why
    try:
        check(subject)
    except NotApplicable as reason:
        return "not probed", str(reason)
    except CheckFailure as failure:
        return "found", failure.seen[:_LONGEST]
    return "clear", ""


if __name__ == "__main__":
    main()
