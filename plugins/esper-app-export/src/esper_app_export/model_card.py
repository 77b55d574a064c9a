"""The model card of an exported network: what it is, how it came about, how good it is, how to load it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from esper_app_export.export_formats import TOPOLOGY_SUFFIX, Format
from esper_core.leyline.protocols import DataShape, TaskKind
from esper_core.leyline.records import to_json
from esper_runs.formatting import flops, loss, paired, percent, points, whole
from esper_runs.result import TWIN
from esper_runs.seed_table import ABLATION_AND_GAIN, ending, lifetime
from esper_runs.verdict import verdict
from esper_runs.verdict_text import verdict_in_words

if TYPE_CHECKING:
    from esper_app_export.export_files import ExportedFile

#: The card's name; it stands beside the file.
MODEL_CARD = "MODEL_CARD.md"


@frozen(kw_only=True)
class CardFacts:
    """What a model card is made from.

    Attributes:
        exported: the file.
        manifest, result: the run's.
        files: names of the files beside the card that hold the network, by format.
    """

    exported: "ExportedFile"
    manifest: Mapping[str, Any]
    result: Mapping[str, Any]
    files: Mapping[Format, str]


def signature(manifest: Mapping[str, Any]) -> str:
    """Return the line by which a card of this run is known."""
    return f"Written by `esper export` from run `{manifest['name']}`, begun {manifest['started']}."


def model_card(facts: CardFacts) -> str:
    """Return the model card as Markdown."""
    sections = (_what, _loading, _accuracy, _size, _topology, _history, _data, _versions)
    parts = [line for section in sections for line in (*section(facts), "")]
    return "\n".join([*parts, signature(facts.manifest)]) + "\n"


def _what(facts: CardFacts) -> Iterator[str]:
    config = facts.manifest["config"]
    yield f"# {facts.manifest['name']}"
    yield ""
    yield (
        f"A network for the task `{config['task']['name']}`: the host `{config['host']['name']}`, and what "
        f"Esper has grown in it while it was trained for "
        f"{_grown(facts)['epochs']} epochs under the policy `{config['policy']['name']}` (seed {config['seed']})."
    )
    if removed := facts.exported.removed:
        yield ""
        yield (
            f"The seeds in {_list(removed)} were still live at the end of the run and are left out. **The figures of "
            "accuracy below were measured with them in place; without them the network was not measured.**"
        )


def _loading(facts: CardFacts) -> Iterator[str]:
    shape = facts.exported.run.shape
    yield "## Use"
    yield ""
    yield f"Inputs are {_inputs(shape)}, prepared as the task does it; outputs are {_outputs(shape)}."
    for form, name in facts.files.items():
        yield ""
        yield from _LOADING[form].format(name=name, topology=Path(name).stem + TOPOLOGY_SUFFIX).splitlines()
    for sentence in _checked(facts.exported):
        yield ""
        yield sentence


def _checked(exported: "ExportedFile") -> Iterator[str]:
    if exported.batch is not None:
        yield f"`{exported.path.name}` takes batches of {exported.batch} only: for any it could not be written."
    if exported.difference is not None:
        figure = f"{exported.difference:.2g}"
        yield f"`{exported.path.name}` was run once: on random inputs it differs from the network by at most {figure}."
    elif exported.format is not Format.SAFETENSORS:
        yield f"`{exported.path.name}` was not run: onnxruntime is not installed where it was written."


def _accuracy(facts: CardFacts) -> Iterator[str]:
    grown, twin = _grown(facts), facts.result["hosts"].get(TWIN, {})
    difference = facts.result.get("difference") or {}
    yield "## Accuracy"
    yield ""
    yield f"On the test split ({whole(grown['test_samples'])} samples), which nothing else has seen."
    yield _TWIN if twin else "No twin was trained."
    yield ""
    rows = [
        (title, write(grown.get(key)), write(twin.get(key)), write_difference(difference.get(key)))
        for title, key, write, write_difference in _ACCURACY
    ]
    yield from _table(("", "grown", "twin", "difference"), rows)
    yield ""
    yield verdict_in_words(verdict(facts.result))


def _size(facts: CardFacts) -> Iterator[str]:
    exported, twin = facts.exported, facts.result["hosts"].get(TWIN, {})
    yield "## Size"
    yield ""
    yield from _table(
        ("", "this file", "twin"),
        [
            ("parameters", whole(exported.parameters), whole(twin.get("parameters"))),
            (
                "forward pass of one sample",
                flops(exported.forward_flops),
                flops(twin.get("forward_flops")),
            ),
        ],
    )


def _topology(facts: CardFacts) -> Iterator[str]:
    yield "## Topology"
    yield ""
    rows = [
        (
            f"`{row.slot}`",
            f"`{row.path}`",
            f"{row.layout}, {row.width}",
            _seed(row.blueprint, row.options) if row.regime and row.slot not in facts.exported.removed else "-",
        )
        for row in facts.exported.run.topology.slots
    ]
    yield from _table(("slot", "submodule of the host", "layout, width", "seed"), rows)


def _history(facts: CardFacts) -> Iterator[str]:
    yield "## Seeds"
    yield ""
    seeds = [seed for seed in facts.result["seeds"] if seed["host"] != TWIN]
    if not seeds:
        yield "No seed was ever germinated."
        return
    yield ABLATION_AND_GAIN
    yield ""
    rows = [
        (
            f"`{seed['seed_id']}`",
            f"`{seed['blueprint']}`",
            whole(seed["parameters"]),
            lifetime(seed),
            ending(seed),
            seed["reason"],
            paired(seed["ablation"]),
            paired(seed["gain"]),
        )
        for seed in seeds
    ]
    yield from _table(("seed", "blueprint", "parameters", "epochs", "end", "reason", "ablation", "gain"), rows)


def _data(facts: CardFacts) -> Iterator[str]:
    yield "## Data"
    yield ""
    yield "```json"
    yield from to_json(facts.manifest["data"], indent=2).splitlines()
    yield "```"


def _versions(facts: CardFacts) -> Iterator[str]:
    manifest = facts.manifest
    yield "## Made with"
    yield ""
    packages = {name: v for name, v in manifest["packages"].items() if name.startswith("esper-") or name == "torch"}
    versions = {"python": manifest["machine"]["python"], **packages}
    yield ", ".join(f"{name} {version}" for name, version in versions.items()) + "."
    if changed := facts.exported.run.changed:
        yield ""
        yield f"Exported with other versions: {'; '.join(changed)}."


def _grown(facts: CardFacts) -> Mapping[str, Any]:
    hosts: Mapping[str, Mapping[str, Any]] = facts.result["hosts"]
    return next(host for name, host in hosts.items() if name != TWIN)


def _seed(blueprint: str | None, options: Mapping[str, Any]) -> str:
    return f"`{blueprint}`" + (f" `{json.dumps(dict(options))}`" if options else "")


def _inputs(shape: DataShape) -> str:
    sizes = ", ".join(["batch", *map(str, shape.input_shape)])
    kind = f"int64 tokens below {shape.outputs}" if shape.kind is TaskKind.TOKENS else f"float32 {shape.kind}"
    return f"{kind} of shape ({sizes})"


def _outputs(shape: DataShape) -> str:
    length = [str(shape.input_shape[0])] if shape.kind is TaskKind.TOKENS else []
    return f"logits of shape ({', '.join(['batch', *length, str(shape.outputs)])})"


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(headers)} |"
    yield f"|{'---|' * len(headers)}"
    for row in rows:
        yield f"| {' | '.join(_cell(text) for text in row)} |"


def _cell(text: str) -> str:
    """A bar would end the cell, a new line the table."""
    return " ".join(text.split()).replace("|", "\\|")


_TWIN = (
    "The twin is the same host with the same initial weights and data order, trained as long, in which nothing grew."
)

#: Title, key, how to write a value, how to write a difference.
_ACCURACY: tuple[tuple[str, str, Callable[[Any], str], Callable[[Any], str]], ...] = (
    ("test accuracy", "test_accuracy", percent, points),
    ("test loss, nats", "test_loss", loss, lambda value: loss(value, signed=True)),
)

_LOADING = {
    Format.TORCH_EXPORT: """\
With torch alone:

```python
import torch

network = torch.export.load("{name}").module()
outputs = network(inputs)
```""",
    Format.ONNX: """\
With onnxruntime, on NumPy arrays:

```python
import onnxruntime

session = onnxruntime.InferenceSession("{name}")
(outputs,) = session.run(None, {{"inputs": inputs}})
```""",
    Format.SAFETENSORS: """\
The tensors alone: those of the host under the names of its `state_dict`, those of the seed in slot S under
`esper.S.seed.`; `{topology}` tells what has grown where.

```python
from safetensors.torch import load_file

tensors = load_file("{name}")
```""",
}
