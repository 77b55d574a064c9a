"""Making an artifact in a process of its own: what it is asked, and what it answers, are files in one folder."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
import torch
from attrs import frozen

from esper_core.leyline.errors import CODES, EsperError, summary
from esper_core.leyline.structure import structure
from esper_core.plugins.registry import Registry
from esper_tezzeret.making import Product, make, not_made
from esper_tezzeret.orders import Order
from esper_tezzeret.process_group import run_in_group, serve
from esper_tezzeret.verification import LIMITS, Limits

_QUESTION, _ARTIFACT, _ANSWER = "question.json", "artifact", "answer.json"


@frozen(kw_only=True)
class Workshop:
    """How artifacts are made.

    Attributes:
        command: the command line that answers; the folder is added to it. See `answer`.
        plugins: tells it which plugins to load, as plain data.
        timeout: seconds that one artifact may take, loading the plugins included.
        limits: what artifacts are held to.
    """

    command: Sequence[str]
    plugins: Mapping[str, Any]
    timeout: float = 600.0
    limits: Limits = LIMITS

    def make(self, order: Order, compiler: str, *, beat: Callable[[], None] = lambda: None) -> Product:
        """Make an artifact in a process that is killed, with all that it has started, when its time is over.

        It has no keys: what it makes is signed by the forge.

        Args:
            order: what is wanted.
            compiler: the compiler's name.
            beat: called while it works.

        Raises:
            EsperError: as `make`, and E626 if it ends without an answer or does not end in time.
        """
        question = {
            "order": json.loads(order.written()),
            "compiler": compiler,
            "plugins": self.plugins,
            "timeout": self.timeout,
            "limits": attrs.asdict(self.limits),
        }
        with TemporaryDirectory(prefix="esper-forge-") as name:
            folder = Path(name)
            (folder / _QUESTION).write_text(json.dumps(question))
            ended = run_in_group([*self.command, name], folder, self.timeout, beat=beat)
            if ended.timed_out:
                raise not_made(order, f"it did not end within {self.timeout:g} s, and was killed")
            try:
                answered = json.loads((folder / _ANSWER).read_text())
                if "facts" in answered:
                    return Product(content=(folder / _ARTIFACT).read_bytes(), facts=answered["facts"])
            except (OSError, ValueError) as error:
                raise not_made(order, ended.why) from error
        raise _error(order, answered)


def answer(folder: Path, load: Callable[[Mapping[str, Any]], Registry]) -> None:
    """Make the artifact that a folder asks for. Called in a process that `Workshop` has started.

    Args:
        folder: where the question is, and the answer goes.
        load: makes a registry of `Workshop.plugins`.
    """
    question = json.loads((folder / _QUESTION).read_text())
    serve(question["timeout"], folder)
    torch.set_num_threads(1)
    try:
        order = structure(Order, question["order"], path="order")
        product = make(order, load(question["plugins"]), question["compiler"], Limits(**question["limits"]))
        (folder / _ARTIFACT).write_bytes(product.content)
        found: dict[str, Any] = {"facts": dict(product.facts)}
    except EsperError as error:
        parts = ("code", "what", "where", "why", "fix")
        found = {name: getattr(error, name) for name in parts}
    except (MemoryError, RecursionError) as error:
        found = {"code": "E626", "what": "a blueprint was not compiled", "why": summary(error)}
    new = folder / f"{_ANSWER}.new"
    new.write_text(json.dumps(found, allow_nan=False))
    new.replace(folder / _ANSWER)


def _error(order: Order, said: Mapping[str, Any]) -> EsperError:
    with suppress(KeyError, TypeError):
        if said["code"] in CODES:
            return EsperError(
                said["code"], said["what"], where=said.get("where"), why=said.get("why"), fix=said.get("fix")
            )
    return not_made(order, "its process answered something else than an artifact or an error")
