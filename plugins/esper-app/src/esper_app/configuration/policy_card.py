"""The card of a saved policy, and the settings that it stands for. Imports no torch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen, validators

from esper_core.leyline.errors import EsperError
from esper_core.leyline.optional import optional_part
from esper_core.leyline.records import to_json, with_numbers
from esper_core.leyline.structure import structure
from esper_runs.reading import parse_object, read_regular, why_unreadable

#: Version of the format of cards and of the files of tensors beside them.
FORMAT = 1

CARD = ".json"

#: The folder of policies in a run's directory. A training saves its best and its last one; the first one is the saved
#: policy that a run began with.
FOLDER = "policy"
BEST, LAST, FIRST = "best", "last", "first"

#: The word for the policy that has been promoted last in the state directory's store of policies.
CHAMPION = "champion"

#: A card is a page; what is larger is none.
_LARGEST = 1 << 24


@frozen(kw_only=True)
class PolicyCard:
    """What a saved policy is.

    Attributes:
        format: version of the format.
        policy: its name, by which the registry of installed plugins finds it.
        options: its options.
        task: what it was trained on.
        host: the host that grew, with its options.
        hosts: how many hosts there were in each round.
        epochs: length of a round.
        rounds: how many rounds it has learned from.
        blueprints: its catalogue in order, names and options.
        catalogue: digest of the catalogue.
        observation: hash of the features that it reads; None if it does not say.
        rewards: preset, terms and discount that it was trained with.
        seed: of the training.
        results: what was measured of it.
        versions: of the distributions that took part, by name.
        digest: SHA-256 of the file of tensors beside the card.
    """

    format: int
    policy: str
    options: Mapping[str, Any]
    task: str
    host: Mapping[str, Any]
    hosts: int
    epochs: int
    rounds: int
    blueprints: tuple[Mapping[str, Any], ...]
    catalogue: str
    observation: str | None
    rewards: Mapping[str, Any]
    seed: int
    results: Mapping[str, Any] = field(factory=dict)
    versions: Mapping[str, str] = field(factory=dict)
    digest: str = field(default="", validator=validators.instance_of(str))

    def settings(self) -> dict[str, Any]:
        """Return the settings of a run with this policy, in the shape of a configuration file."""
        options = {it["name"]: dict(it["options"]) for it in self.blueprints if it["options"]}
        named = {"name": self.policy, "blueprints": [it["name"] for it in self.blueprints], **self.options}
        return {"policy": named, **({"blueprints": options} if options else {})}

    def reward_settings(self) -> dict[str, Any]:
        """Return, by key, the settings of the rewards that it was trained with."""
        preset = self.rewards.get("preset")
        terms = [{"name": it["name"], "weight": it["weight"], **it["options"]} for it in self.rewards["terms"]]
        named = {"rewards.preset": preset} if preset else {"rewards.preset": None, "rewards.terms": terms}
        return {**named, "rewards.gamma": self.rewards["gamma"]}


def is_saved_policy(text: str) -> bool:
    """Say whether a text after ``--policy`` means a file or folder, as ``champion`` does.

    Any other bare word and ``provider/name`` are names.
    """
    if text == CHAMPION:
        return True
    path = Path(text)
    return path.name != text and (path.suffix in (CARD, ".safetensors") or len(path.parts) > 2 or _is_there(path))


def champion_policy() -> tuple[Path, str]:
    """Return the path of the champion's card, and its version.

    Raises:
        EsperError: E190 if no store of policies is installed, E636 if there is no champion, E637 if it is not signed by
            us or not as it was signed, E612 and E635 if the state directory cannot be used.
    """
    without = "name a saved policy by its path"
    part = optional_part("esper_simic.champion", "there is no champion", where="--policy champion", otherwise=without)
    found: tuple[Path, str] = part.champion_card()
    return found


def saved_policy_path(text: str) -> Path:
    """Return the path of the saved policy that a text after ``--policy`` means.

    Raises:
        EsperError: as `champion_policy`.
    """
    return champion_policy()[0] if text == CHAMPION else Path(text)


def locate_policy(path: Path) -> Path:
    """Return the path of a saved policy's card.

    Args:
        path: the card, the tensors, the name of both without a suffix, a folder with policies, or a run's directory.

    Raises:
        EsperError: E517 if there is none.
    """
    if path.suffix in (CARD, ".safetensors"):
        places = [path.with_suffix(CARD)]
    else:
        folders = (path, path / FOLDER)
        places = [path.with_name(f"{path.name}{CARD}"), *(it / f"{n}{CARD}" for it in folders for n in (BEST, LAST))]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        fix = "name the folder of a training's policies, such as runs/digits-1/policy; train one: esper train TASK"
        raise EsperError("E517", f'there is no saved policy at "{path}"', why=f"it has no {places[-1].name}", fix=fix)
    return found


def read_policy_card(path: Path) -> PolicyCard:
    """Return the card of a saved policy; see `locate_policy` and `read_card`. Raises EsperError E517."""
    return read_card(locate_policy(path))


def read_card(path: Path) -> PolicyCard:
    """Read a card. Raises EsperError E517 if it cannot be read, or was written by a newer Esper."""
    try:
        data = with_numbers(parse_object(read_regular(path, largest=_LARGEST)))
        if isinstance(written := data.get("format"), int) and written > FORMAT:
            raise unreadable(path, f"its format is {written}, this Esper reads up to {FORMAT}")
        card = structure(PolicyCard, data)
        card.settings()
        card.reward_settings()
        to_json(
            data
        ).encode()  # a run keeps the card of the policy that it begins with: it must be possible to write it
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise unreadable(path, why_unreadable(error)) from error
    except EsperError as error:
        raise error if error.code == "E517" else unreadable(path, error.what) from error
    return card


def unreadable(path: Path, why: str) -> EsperError:
    """Return the error E517 for a file that is not as a policy is saved."""
    fix = "bring the files back as they were written, or train another policy"
    return EsperError("E517", f'the saved policy "{path.name}" cannot be read', where=str(path), why=why, fix=fix)


def _is_there(path: Path) -> bool:
    return path.exists() or path.with_name(f"{path.name}{CARD}").exists()
