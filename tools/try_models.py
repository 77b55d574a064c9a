"""Try `esper_core.grow` with models, optimizers, schedulers, frameworks and settings.

    python tools/try_models.py [--only WORD ...] [--list] [--write docs/tried.md]

A seed is grown until it is a permanent part of the network, and what is exported is compared with what was trained. The
exit status is 1 if anything neither grew nor was refused as it is to be. Nothing is downloaded; what needs a package
that is not installed is left out, and named.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from trials import architectures, frameworks, loops, optimizing, transforms
from trials.trial import Result, Trial, attempt, table

BEGIN, END = "<!-- trials:begin -->", "<!-- trials:end -->"


def all_trials() -> list[Trial]:
    """Everything that is tried, in the order of the page."""
    parts = (architectures, optimizing, loops, transforms, frameworks)
    return [trial for part in parts for trial in part.trials()]


def chosen(words: Sequence[str]) -> list[Trial]:
    """Return the trials in whose group or name one of the words is; all of them without any."""
    found = [
        trial
        for trial in all_trials()
        if not words or any(word.lower() in f"{trial.group} {trial.name}".lower() for word in words)
    ]
    if not found:
        raise SystemExit(f"no trial is named {', '.join(words)}: see --list")
    return found


def write(page: Path, results: Sequence[Result]) -> None:
    """Put the tables between the page's two markers."""
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, marker, tail = rest.partition(END)
    if not marker:
        raise SystemExit(f"{page} has no {BEGIN} and {END}")
    page.write_text(f"{head}{BEGIN}\n{_versions()}\n\n{table(results)}\n{END}{tail}", encoding="utf-8")


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("torch", "transformers", "accelerate", "peft", "lightning"):
        try:
            found.append(f"{name} {version(name).partition('+')[0]}")
        except PackageNotFoundError:
            found.append(f"without {name}")
    return f"Tried with {', '.join(found)}, on one thread of a CPU."


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="trials with a word in group or name")
    parser.add_argument("--list", action="store_true", help="say what there is, and end")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into a page")
    given = parser.parse_args()
    torch.set_num_threads(1)
    trials = chosen(given.only)
    if given.list:
        print("\n".join(f"{trial.group}: {trial.name}" for trial in trials))
        return 0
    results = []
    for trial in trials:
        results.append(result := attempt(trial))
        print(f"{result.kind:9} {result.seconds:5.0f} s  {trial.name}: {result.said}", *result.told, sep="\n    ")
        sys.stdout.flush()
    if given.write is not None:
        write(given.write, results)
    wrong = [result.trial.name for result in results if result.kind == "wrong"]
    print(f"{len(results)} tried, {len(wrong)} wrong" + (f": {', '.join(wrong)}" if wrong else ""))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
