"""The model card of an exported network: what it is, how it came about, how good it is, how to load it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from esper_app_export.export_formats import TOPOLOGY_SUFFIX, Format
from esper_core.api import DataShape, TargetKind, TaskKind, to_json
from esper_runs.comparison import comparison
from esper_runs.formatting import MISSING, flops, whole
from esper_runs.result import CONTROL, TWIN, is_twin, pair_results
from esper_runs.seed_table import ABLATION_AND_GAIN, seed_table
from esper_runs.tables import Column, Table, markdown
from esper_runs.verdict import verdict
from esper_runs.verdict_text import verdict_in_words

if TYPE_CHECKING:
    from esper_app_export.export_files import ExportedFile

#: The card's name; it stands beside the file.
MODEL_CARD = "MODEL_CARD.md"

_TEMPLATES = Path(__file__).with_name("templates")

_TWIN = (
    "The twin is the same host with the same initial weights and data order, trained for as many epochs, in which "
    "nothing grew."
)
_CONTROL = (
    "The control is the same host, in which nothing grew either, trained afterwards for as many floating-point "
    "operations as the grown network has taken in all."
)


@frozen(kw_only=True)
class CardFacts:
    """What a model card is made from.

    Attributes:
        exported: the file.
        manifest, result: the run's.
        files: names of the files beside the card that hold the network, by format.
        host: the name of the host, where several grew.
    """

    exported: "ExportedFile"
    manifest: Mapping[str, Any]
    result: Mapping[str, Any]
    files: Mapping[Format, str]
    host: str | None = None


def signature(manifest: Mapping[str, Any], host: str | None = None) -> str:
    """Return the line by which a card of this run, and of this host of several, is known."""
    which = "" if host is None else f"host `{host}` of "
    return f"Written by `esper export` from {which}run `{manifest['name']}`, begun {manifest['started']}."


def model_card(facts: CardFacts) -> str:
    """Return the model card as Markdown."""
    if facts.host is not None:
        facts = evolve(facts, result=pair_results(facts.result)[facts.host])
    manifest, config, shape = facts.manifest, facts.manifest["config"], facts.exported.run.shape
    grown = _grown(facts)
    card = _filled_in(
        "model_card",
        name=manifest["name"],
        task=config["task"]["name"],
        host=config["host"]["name"],
        policy=config["policy"]["name"],
        seed=_random_seed(facts),
        epochs=grown["epochs"],
        removed=_removed(facts.exported),
        inputs=_inputs(shape),
        outputs=_outputs(shape),
        loading="\n".join(_loading(form, name) for form, name in facts.files.items()),
        checked="\n\n".join(_checked(facts.exported)),
        test_samples=whole(grown["test_samples"]),
        twin=_never_grew(facts.result["hosts"]),
        comparison=markdown(comparison(facts.result)),
        verdict=verdict_in_words(verdict(facts.result)),
        size=_size(facts),
        topology=_topology(facts.exported),
        seeds=_seeds(facts),
        data=to_json(manifest["data"], indent=2),
        versions=_versions(manifest),
        changed=_changed(facts.exported),
        signature=signature(manifest, facts.host),
    )
    # A paragraph that has nothing to say leaves blank lines behind.
    return re.sub(r"\n{3,}", "\n\n", card)


def _never_grew(hosts: Mapping[str, Any]) -> str:
    """What the network is compared with."""
    return " ".join([*[_TWIN] * (TWIN in hosts), *[_CONTROL] * (CONTROL in hosts)]) or "No twin was trained."


def _filled_in(template: str, **values: Any) -> str:
    # A template says $$ for a dollar; an unknown name is a mistake of ours and raises.
    return Template((_TEMPLATES / f"{template}.md.template").read_text(encoding="utf-8")).substitute(values)


def _removed(exported: "ExportedFile") -> str:
    if not exported.removed:
        return ""
    return (
        f"The seeds in {_list(exported.removed)} were still live at the end of the run and are left out. **The results "
        "below were measured with them in place; without them the network was not measured.**"
    )


def _loading(form: Format, name: str) -> str:
    return _filled_in(f"load_{form}", file=name, topology=Path(name).stem + TOPOLOGY_SUFFIX)


def _checked(exported: "ExportedFile") -> Iterator[str]:
    if exported.batch is not None:
        yield (
            f"`{exported.path.name}` takes batches of {exported.batch} only: it could not be written for batches of "
            "any size."
        )
    if exported.difference is not None:
        largest = f"{exported.difference:.2g}"
        yield f"`{exported.path.name}` was run once: on random inputs it differs from the network by at most {largest}."
    elif exported.format is not Format.SAFETENSORS:
        yield f"`{exported.path.name}` was not run: onnxruntime is not installed where it was written."


def _size(facts: CardFacts) -> str:
    exported, twin = facts.exported, facts.result["hosts"].get(TWIN, {})
    rows = (
        ("parameters", whole(exported.parameters), whole(twin.get("parameters"))),
        ("forward pass of one sample", flops(exported.forward_flops), flops(twin.get("forward_flops"))),
    )
    columns = (Column(""), Column("this file", right=True), Column("twin", right=True))
    return markdown(Table(columns=columns, rows=rows))


def _topology(exported: "ExportedFile") -> str:
    rows = tuple(
        (
            f"`{row.slot}`",
            f"`{row.path}`",
            f"{row.layout}, {row.width}",
            _seed(row.blueprint, row.options) if row.regime and row.slot not in exported.removed else MISSING,
        )
        for row in exported.run.topology.slots
    )
    titles = ("slot", "submodule of the host", "layout, width", "seed")
    return markdown(Table(columns=tuple(map(Column, titles)), rows=rows))


def _seeds(facts: CardFacts) -> str:
    seeds = [seed for seed in facts.result["seeds"] if not is_twin(seed["host"])]
    return f"{ABLATION_AND_GAIN}\n\n{markdown(seed_table(seeds))}" if seeds else "No seed was germinated."


def _versions(manifest: Mapping[str, Any]) -> str:
    packages = {name: v for name, v in manifest["packages"].items() if name.startswith("esper-") or name == "torch"}
    versions = {"python": manifest["machine"]["python"], **packages}
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _changed(exported: "ExportedFile") -> str:
    changed = exported.run.changed
    return f"Exported with other versions: {'; '.join(changed)}." if changed else ""


def _grown(facts: CardFacts) -> Mapping[str, Any]:
    hosts: Mapping[str, Mapping[str, Any]] = facts.result["hosts"]
    return next(host for name, host in hosts.items() if not is_twin(name))


def _random_seed(facts: CardFacts) -> int:
    """The random seed of the host; each of several has its own."""
    seeds = {it["name"]: it["seed"] for it in facts.manifest.get("hosts", ())}
    found: int = seeds.get(facts.host, facts.manifest["config"]["seed"])
    return found


def _seed(blueprint: str | None, options: Mapping[str, Any]) -> str:
    return f"`{blueprint}`" + (f" `{json.dumps(dict(options))}`" if options else "")


def _inputs(shape: DataShape) -> str:
    sizes = ", ".join(["batch", *map(str, shape.input_shape)])
    kind = f"int64 tokens below {shape.outputs}" if shape.kind is TaskKind.TOKENS else f"float32 {shape.kind}"
    return f"{kind} of shape ({sizes})"


def _outputs(shape: DataShape) -> str:
    length = [str(shape.input_shape[0])] if shape.kind is TaskKind.TOKENS else []
    kind = "numbers" if shape.targets is TargetKind.NUMBERS else "logits"
    return f"{kind} of shape ({', '.join(['batch', *length, str(shape.outputs)])})"


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
