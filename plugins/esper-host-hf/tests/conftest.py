"""Tiny models of each kind of host, and what it takes to grow them."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pytest
import torch
import transformers
from attrs import frozen
from torch import Tensor
from torch.nn.functional import cross_entropy

from esper_blueprint_attention.config import AttentionConfig
from esper_blueprint_attention.module import Attention
from esper_blueprint_layer_norm.module import LayerNormUpdate
from esper_blueprint_mlp.config import MlpConfig
from esper_blueprint_mlp.module import Mlp
from esper_core.api import DataShape, GateLevel, GateResult, HostBuild, Layout, SeedEvidence, Split, Splits, TaskKind
from esper_core.kasmina.config import LifecycleConfig
from esper_core.kasmina.growth import Growth
from esper_core.kasmina.root_module import prepare_root
from esper_core.kasmina.seed_factory import SeedFactory
from esper_core.kasmina.sites import confirm_sites
from esper_core.leyline.catalogue import CatalogueEntry
from esper_core.tamiyo.masks import GrowthLimits
from esper_core.tolaria.config import OptimizerConfig
from esper_core.tolaria.host import HostPlan
from esper_host_hf.config import HfConfig
from esper_host_hf.host import build

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()

VOCABULARY, CLASSES, LENGTH, WIDTH = 29, 5, 8, 16
PADDING = 0

TEXT = DataShape(kind=TaskKind.TOKENS, input_shape=(LENGTH,), outputs=VOCABULARY)
DOCUMENTS = DataShape(kind=TaskKind.TOKENS, input_shape=(LENGTH,), outputs=CLASSES)
IMAGES = DataShape(kind=TaskKind.IMAGES, input_shape=(1, 8, 8), outputs=CLASSES)

SIZES = {"num_hidden_layers": 2, "hidden_size": WIDTH, "num_attention_heads": 2, "intermediate_size": 32}
TOKENS = {"vocab_size": VOCABULARY, "max_position_embeddings": 16, "pad_token_id": PADDING, "initializer_range": 0.2}


@frozen(kw_only=True)
class Family:
    """A kind of model: its type in transformers, tiny sizes, the data it is for, and the class of its blocks."""

    architecture: str
    settings: Mapping[str, Any]
    data: DataShape
    block: str

    @property
    def causal(self) -> bool:
        return self.data is TEXT

    @property
    def dropout(self) -> bool:
        """These have dropout by default."""
        return self.architecture in ("gpt2", "bert", "mpnet")

    def options(self, **options: Any) -> HfConfig:
        settings = {**self.settings, **options.pop("settings", {})}
        return HfConfig(architecture=self.architecture, settings=settings, **options)

    def inputs(self, size: int = 6, seed: int = 0) -> Tensor:
        """Draw inputs without padding."""
        generator = torch.Generator().manual_seed(seed)
        if self.data is IMAGES:
            return torch.randn((size, *IMAGES.input_shape), generator=generator)
        return torch.randint(1, VOCABULARY, (size, LENGTH), generator=generator)

    def targets(self, size: int = 6, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed + 1)
        return torch.randint(self.data.outputs, (size, LENGTH) if self.causal else (size,), generator=generator)


FAMILIES = {
    "gpt2": Family(
        architecture="gpt2",
        settings={"n_layer": 2, "n_embd": WIDTH, "n_head": 2, "n_positions": 16},
        data=TEXT,
        block="GPT2Block",
    ),
    "llama": Family(
        architecture="llama", settings=SIZES | {"num_key_value_heads": 1}, data=TEXT, block="LlamaDecoderLayer"
    ),
    "vit": Family(architecture="vit", settings=SIZES | {"patch_size": 4}, data=IMAGES, block="ViTLayer"),
    "bert": Family(architecture="bert", settings=SIZES | TOKENS, data=DOCUMENTS, block="BertLayer"),
}
#: Their blocks return a tuple in every version of transformers; those of the others in some.
TUPLES = {
    "gpt-neo": Family(
        architecture="gpt_neo",
        settings={
            "num_layers": 2,
            "hidden_size": WIDTH,
            "num_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 16,
            "attention_types": [[["global"], 2]],
        },
        data=TEXT,
        block="GPTNeoBlock",
    ),
    "mpnet": Family(architecture="mpnet", settings=SIZES | TOKENS, data=DOCUMENTS, block="MPNetLayer"),
}
#: Its blocks get their mask by place, and return a tensor or a tuple depending on the version.
DISTILBERT = Family(
    architecture="distilbert",
    settings={"n_layers": 2, "dim": WIDTH, "n_heads": 2, "hidden_dim": 32}
    | {"vocab_size": VOCABULARY, "max_position_embeddings": 16, "pad_token_id": PADDING, "initializer_range": 0.2},
    data=DOCUMENTS,
    block="TransformerBlock",
)
ALL = FAMILIES | TUPLES


def new_host(family: Family, *, seed: int = 0, data: DataShape | None = None, **options: Any) -> HostBuild:
    """Build a host of a family from a seed."""
    torch.manual_seed(seed)
    return build(family.options(**options), data or family.data)


def loss_of(outputs: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(outputs.flatten(0, -2), targets.flatten())


class AnyGate:
    """Passes always."""

    consecutive_passes = 1

    def __init__(self, level: GateLevel) -> None:
        self.level = level

    def evaluate(self, evidence: SeedEvidence) -> GateResult:
        return GateResult(gate=self.level, passed=True, reason="as the test wants it")


BLUEPRINTS = {
    "mlp": lambda site: Mlp(site, MlpConfig()),
    "layer-norm": LayerNormUpdate,
    "attention": lambda site: Attention(site, AttentionConfig()),
}
RECIPES = {
    name: SeedFactory(
        entry=CatalogueEntry(name=name, layouts=frozenset({Layout.BTD})), build=make, takes_mask=name == "attention"
    )
    for name, make in BLUEPRINTS.items()
}


def new_growth(host: HostBuild, inputs: Tensor, **config: Any) -> Growth:
    """Make a host growable, with AdamW and gates that always pass."""
    root = prepare_root(host.module)
    sites = confirm_sites(root, host.sites, lambda model: model(inputs))
    optimizer = torch.optim.AdamW(root.parameters(), lr=0.01)
    gates = {level: AnyGate(level) for level in GateLevel}
    return Growth(root, sites, optimizer, RECIPES, gates, LifecycleConfig(**config), 3, seed_learning_rate=0.01)


def train_steps(
    growth: Growth, inputs: Tensor, targets: Tensor, *, call: Callable[[Tensor], Tensor] | None = None
) -> list[Tensor]:
    """Train three steps; return the logits, the host's gradients, and everything of the host that they leave behind."""
    model, optimizer = growth.slot_set.model.train(), growth.slot_set.optimizer
    seen: list[Tensor] = []
    torch.manual_seed(11)
    for step in range(3):
        growth.set_position(step)
        logits = (call or model)(inputs)
        optimizer.zero_grad()
        loss_of(logits, targets).backward()
        seen += [
            logits.detach().clone(),
            *(p.grad.clone() for p in growth.slot_set.host_parameters if p.grad is not None),
        ]
        optimizer.step()
    states = [value for p in growth.slot_set.host_parameters for value in optimizer.state.get(p, {}).values()]
    return [t.clone() for t in [*seen, *growth.slot_set.host_parameters, *states]]


class Lesson:
    """A task that can be learned: the right class, or token, can be read off the inputs."""

    random_guess_loss = 3.4
    identity: Mapping[str, Any] = {"name": "lesson"}

    def __init__(self, family: Family) -> None:
        self.family = family
        self.shape = family.data

    def load(self) -> Splits:
        parts = [self._draw(size, seed) for seed, size in enumerate((48, 24, 24))]
        return Splits(train=parts[0], validation=parts[1], test=parts[2])

    def augment(self, inputs: Tensor, generator: torch.Generator) -> Tensor:
        return inputs

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        if targets.ndim == 1:
            return cross_entropy(outputs, targets, reduction="none")
        return cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(-1)

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(-1) == targets).float().view(len(targets), -1).mean(-1)

    def _draw(self, size: int, seed: int) -> Split:
        inputs, targets = self.family.inputs(size, seed), self.family.targets(size, seed)
        if self.family.causal:
            targets = inputs
        elif inputs.ndim == 2:
            targets = inputs[:, 1] % CLASSES
        else:
            inputs = inputs + targets.view(-1, 1, 1, 1)
        return Split(inputs=inputs, targets=targets)


def plan_of(family: Family, *, epochs: int = 6) -> HostPlan:
    """Return the plan of a growing host whose gates are open."""
    task = Lesson(family)
    return HostPlan(
        name="grown",
        build=partial(build, family.options(), family.data),
        task=task,
        splits=task.load(),
        seed_factories=RECIPES,
        gates={level: AnyGate(level) for level in GateLevel},
        lifecycle=LifecycleConfig(ramp_epochs=1, embargo_epochs=1),
        limits=GrowthLimits(),
        optimizer=OptimizerConfig(name="adamw", lr=0.01),
        epochs=epochs,
        batch_size=16,
        seed=7,
    )


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(params=ALL)
def any_family(request: pytest.FixtureRequest) -> Family:
    return ALL[request.param]


@pytest.fixture
def families() -> Mapping[str, Family]:
    return ALL | {"distilbert": DISTILBERT}


@pytest.fixture
def make_host() -> Callable[..., HostBuild]:
    return new_host


@pytest.fixture
def make_growth() -> Callable[..., Growth]:
    return new_growth


@pytest.fixture
def train() -> Callable[..., list[Tensor]]:
    return train_steps


@pytest.fixture
def make_plan() -> Callable[..., HostPlan]:
    return plan_of
