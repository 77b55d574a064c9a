"""Saved policies: tensors in one safetensors file, and a card beside it that says in JSON what the policy is.

Both are data. What is built is named in the card by policy and options, and comes from the registry of installed
plugins; the file adds tensors and plain values.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from attrs import evolve, frozen
from safetensors import SafetensorError
from torch import Tensor

from esper_app.configuration.policy_card import BEST, CARD, FORMAT, PolicyCard, locate_policy, read_card, unreadable
from esper_app.configuration.resolve import ResolvedConfig
from esper_app.execution.assembly import Assembly, assemble, built_policy
from esper_core.assembling.seed_factories import seed_factory
from esper_core.leyline.catalogue import Catalogue
from esper_core.leyline.errors import EsperError
from esper_core.leyline.learning import PolicyState
from esper_core.leyline.records import plain, to_json, with_numbers
from esper_core.leyline.structure import structure
from esper_core.plugins.plugin_set import PluginSet
from esper_core.plugins.registry import Registry
from esper_core.tamiyo.policy import Policy
from esper_runs.reading import parse_object, read_regular, why_unreadable
from esper_runs.run_directory import write_atomically

TENSORS = ".safetensors"

#: The key of the header under which everything that is no tensor is kept.
_KEY = "esper"

#: What restoring may raise where a state has the right kind and the wrong content.
_WRONG = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@frozen(kw_only=True)
class _Said:
    """What the header of a file of tensors holds."""

    format: int
    version: int
    record: Mapping[str, Any]


@frozen(kw_only=True)
class SavedPolicy:
    """A policy as it was read.

    Attributes:
        card: what it is.
        state: what it has learned.
        path: of its file of tensors.
    """

    card: PolicyCard
    state: PolicyState
    path: Path


def describe(assembly: Assembly, state: PolicyState, *, rounds: int, results: Mapping[str, Any]) -> PolicyCard:
    """Return the card of a policy that a run has trained.

    Args:
        assembly: the run's parts.
        state: the policy's.
        rounds: how many rounds it has learned from in this run.
        results: what was measured of it, as plain data.
    """
    config, registered = assembly.config, assembly.registry.get("policy", assembly.config.policy.name)
    observation = state.record.get("schema_hash")
    used = {it.origin.distribution: it.origin.version for it in assembly.used if it.origin.distribution}
    return PolicyCard(
        format=FORMAT,
        policy=registered.spec.name,
        options=config.policy.options,
        task=config.task.name,
        host={"name": config.host.name, **config.host.options},
        hosts=config.hosts,
        epochs=config.epochs,
        rounds=rounds,
        blueprints=tuple({"name": it.name, "options": dict(it.options)} for it in assembly.catalogue),
        catalogue=assembly.catalogue.digest,
        observation=observation if isinstance(observation, str) else None,
        rewards={"preset": config.rewards.preset, "terms": plain(config.rewards.terms), "gamma": config.rewards.gamma},
        seed=config.seed,
        results=results,
        versions={name: used[name] or "" for name in sorted(used)},
    )


def save_policy(folder: Path, name: str, card: PolicyCard, state: PolicyState) -> Path:
    """Write a policy: the tensors, then the card, each whole or not at all. Return the path of the tensors.

    The same state and card give the same bytes.

    Args:
        folder: made if it is not there.
        name: of both files, without a suffix.
        card: what it is; its digest is filled in.
        state: of the policy; nothing but tensors and plain data.

    Raises:
        OSError: if it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in state.tensors.items()}
    said = {"format": FORMAT, "version": state.version, "record": plain(state.record)}
    data = safetensors.torch.save(tensors, metadata={_KEY: to_json(said)})
    write_atomically(path := folder / f"{name}{TENSORS}", data)
    digested = evolve(card, digest=hashlib.sha256(data).hexdigest())
    write_atomically(folder / f"{name}{CARD}", f"{to_json(digested, indent=2)}\n".encode())
    return path


def load_policy(path: Path) -> SavedPolicy:
    """Read a saved policy.

    Args:
        path: its card, its file of tensors, the name of both without a suffix, or a folder: then ``best`` in it, or
            ``last`` where there is no best one.

    Raises:
        EsperError: E517 if there is none, or it cannot be read.
    """
    card_path = locate_policy(path)
    card, tensors = read_card(card_path), card_path.with_suffix(TENSORS)
    try:
        data = read_regular(tensors)
        if hashlib.sha256(data).hexdigest() != card.digest:
            raise ValueError(f'it is not the file that "{card_path.name}" was written with')
        header = parse_object(data[8 : 8 + int.from_bytes(data[:8], "little")])
        said = structure(_Said, with_numbers(parse_object(header["__metadata__"][_KEY])))
        loaded: dict[str, Tensor] = safetensors.torch.load(data)
    except (OSError, LookupError, SafetensorError, TypeError, ValueError) as error:
        raise unreadable(tensors, why_unreadable(error)) from error
    except EsperError as error:
        raise unreadable(tensors, error.what) from error
    state = PolicyState(tensors=loaded, record=said.record, version=said.version)
    return SavedPolicy(card=card, state=state, path=tensors)


@frozen(kw_only=True)
class NewPolicy:
    """A policy of a configuration, outside of a run.

    Attributes:
        policy: with what it begins with.
        assembly: the parts of a run with it.
    """

    policy: Policy
    assembly: Assembly

    def save(self, folder: Path, *, results: Mapping[str, Any]) -> Path:
        """Write it as a training does, as the best policy of a folder; return the path of the tensors.

        Raises:
            EsperError: E202 if it has no memory.
            OSError: if it cannot be written.
        """
        if (state := self.policy.state()) is None:
            fix = "choose one that learns, such as ppo"
            raise EsperError("E202", f"the policy {self.policy.name} has no memory to save", where="policy", fix=fix)
        return save_policy(folder, BEST, describe(self.assembly, state, rounds=0, results=results), state)


def new_policy(resolved: ResolvedConfig, plugins: PluginSet) -> NewPolicy:
    """Return the policy with which a run of a configuration begins. Raises EsperError as `first_policy` does."""
    assembly = assemble(resolved.config, plugins)
    policy, _ = first_policy(assembly)
    return NewPolicy(policy=policy, assembly=assembly)


def first_policy(assembly: Assembly) -> tuple[Policy, SavedPolicy | None]:
    """Return the policy with which a run begins, and the saved one that it goes on from, if there is one.

    Raises:
        EsperError: E517, E502 for a saved policy that cannot be read or does not fit, E530 as `Assembly.policy`.
    """
    policy, path = assembly.policy(), assembly.config.policy.saved
    saved = None if path is None else load_policy(Path(path))
    _refuse_another_version(assembly.config.policy.version, saved)
    if saved is None:
        return policy, None
    take_up(policy, saved, assembly)
    return policy, saved


def rebuild_policy(card: PolicyCard, registry: Registry, version: str | None = None) -> Policy:
    """Return a policy as its card describes it, that has learned nothing; no task is needed for it.

    Raises:
        EsperError: E204 if the policy or a blueprint is not installed, E201, E202 for options that it does not have,
            E502 if the blueprints are others than they were, and as `built_policy`.
    """
    factories = [seed_factory(registry, it["name"], it["options"]) for it in card.blueprints]
    catalogue = Catalogue(tuple(it.entry for it in factories))
    if catalogue.digest != card.catalogue:
        why = f"the catalogue that its card names has the digest {catalogue.digest[:12]}, not {card.catalogue[:12]}"
        fix = "use it with the blueprints that it was trained with, or train another policy"
        raise EsperError("E502", "the saved policy is of another catalogue", why=why, fix=fix)
    return built_policy(registry, card.policy, card.options, catalogue, version)


def take_up(policy: Policy, saved: SavedPolicy, assembly: Assembly) -> None:
    """Let a policy begin with what another one like it has learned, before a round begins.

    Raises:
        EsperError: E502 naming what differs: the policy, the catalogue, the features of observations, or the widths.
    """
    name = assembly.registry.get("policy", assembly.config.policy.name).spec.name
    if name != saved.card.policy:
        raise _differs(
            saved, f'it is of the policy "{saved.card.policy}", the run has "{name}"', "leave out policy.name"
        )
    if saved.card.catalogue != assembly.catalogue.digest:
        why = _catalogues(saved.card.blueprints, assembly)
        raise _differs(saved, why, "leave out policy.blueprints and the options of blueprints, or train another policy")
    try:
        policy.restore(saved.state)
    except EsperError as error:
        error.where = error.where or str(saved.path)
        raise
    except _WRONG as error:
        raise _differs(saved, why_unreadable(error).partition("\n")[0], "train another policy") from error


def refuse_following(assembly: Assembly) -> None:
    """Check that nobody follows the champion where there are no rounds to do so between. Raises EsperError E202."""
    if assembly.config.policy.follow:
        fix = "leave it out, or train: esper train TASK --policy champion --follow"
        raise EsperError("E202", "only a training follows the champion", where="policy.follow", fix=fix)


def _refuse_another_version(version: str | None, saved: SavedPolicy | None) -> None:
    """A version ends with what the digest of its tensors begins with."""
    if version is None or (saved is not None and saved.card.digest.startswith(version.rpartition("-")[2])):
        return
    what = f"the version {version} is not that of the policy that the run begins with"
    raise EsperError("E202", what, where="policy.version", fix="leave it out; --policy champion sets it")


def _differs(saved: SavedPolicy, why: str, fix: str) -> EsperError:
    return EsperError("E502", "the saved policy does not fit this run", where=str(saved.path), why=why, fix=fix)


def _catalogues(blueprints: tuple[Mapping[str, Any], ...], assembly: Assembly) -> str:
    was, now = [it["name"] for it in blueprints], [*assembly.catalogue.names]
    if was != now:
        return f"its catalogue is {', '.join(was)}; the run's is {', '.join(now)}"
    options = {it.name: dict(it.options) for it in assembly.catalogue}
    named = next((it for it in blueprints if dict(it["options"]) != options[it["name"]]), None)
    if named is None:
        return "its catalogue is not the one that its card names"
    before, after = json.dumps(dict(named["options"])), json.dumps(options[named["name"]])
    return f'the blueprint "{named["name"]}" had the options {before}, it has {after}'
