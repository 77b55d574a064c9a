"""What compiling is worth: a step of eager, export and AOTInductor, for seeds of three blueprints, and for the policy.

Seeds are made as the forge makes them, and take turns in one process. A step of training is the update, its gradients
and no optimizer; one of inference is the update alone. Shown are medians, and in brackets the time of eager over it:
above 1 it is faster. The last line is the network of the policy `ppo` for one decision of one host.

    python tests/benchmarks/compiled_seeds.py [--steps 50] [--batch 32] [--threads 2] [--blueprints conv-light,...]
"""

import argparse
import os
from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from esper_app.api import load_plugins
from esper_compiler_aoti.compiler import machine_code, runner
from esper_core.api import Layout, Site
from esper_core.plugins.resolve import build_config, resolve
from esper_core.specs import BlueprintSpec
from esper_policy_ppo.config import PPOConfig
from esper_policy_ppo.inputs import Encoder, Inputs
from esper_policy_ppo.network import Network, build_network
from esper_testing.situations import CATALOGUE, situations
from esper_tezzeret.api import CompileJob, CompilerSpec, LoadJob

COMPILERS = ("eager", "export", "aoti")
SHAPES = {"conv-light": ("NCHW", (16, 16, 16)), "mlp": ("BTD", (32, 64)), "attention": ("BTD", (32, 64))}
WARM_UP = 5


def milliseconds(call: Callable[[], object]) -> float:
    began = perf_counter()
    call()
    return 1e3 * (perf_counter() - began)


def step(module: nn.Module, h: Tensor, *, training: bool) -> Callable[[], None]:
    def once() -> None:
        module.train(training)
        with torch.set_grad_enabled(training):
            module.zero_grad(set_to_none=True)
            delta = module(h.detach().requires_grad_(training))
            if training:
                delta.sum().backward()

    return once


def in_turns(steps: dict[str, Callable[[], object]], count: int) -> dict[str, float]:
    """Return the median of each, in milliseconds."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(count + WARM_UP):
        for name, once in steps.items():
            took = milliseconds(once)
            if number >= WARM_UP:
                times[name].append(took)
    return {name: median(it) for name, it in times.items()}


def built(registry, blueprint: str, layout: str, shape: tuple[int, ...]) -> tuple[nn.Module, str]:
    """Return a seed of a blueprint, and the blueprint's id."""
    found = registry.get(BlueprintSpec.kind, blueprint)
    width = shape[Layout(layout).width_axis - 1]
    site = Site(id="bench", path="bench", layout=Layout(layout), width=width, sample_shape=shape, causal=False)
    torch.manual_seed(0)
    return resolve(found)(site, build_config(found, {})), found.id


def seeds_of(
    registry, name: str, layout: str, shape: tuple[int, ...]
) -> tuple[dict[str, nn.Module], dict[str, tuple[float, float, int]]]:
    """Return a seed of each compiler, and of each seconds to make it, milliseconds to load it, and its bytes."""
    example = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    found, costs = {}, {}
    for compiler in COMPILERS:
        tool = resolve(registry.get(CompilerSpec.kind, compiler))(None)
        module, id = built(registry, name, layout, shape)
        began = perf_counter()
        content = tool.compile(CompileJob(blueprint=id, module=module, example=example)).content
        compiled = perf_counter()
        found[compiler] = tool.load(
            LoadJob(blueprint=id, content=content, module=built(registry, name, layout, shape)[0])
        )
        costs[compiler] = compiled - began, 1e3 * (perf_counter() - compiled), len(content)
    return found, costs


class Deciding(nn.Module):
    """The network of `ppo` for one decision: its features, its memory, and its first head."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, host: Tensor, slots: Tensor, present: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        inputs = Inputs(host=host, slots=slots, present=present, op=None, slot=None, blueprint=None, blend=None)
        features, encodings, (h, c) = self.network(inputs, (h, c))
        return self.network.op_head(features), encodings, self.network.value_head(features), h, c


def policy_steps() -> dict[str, Callable[[], object]]:
    encoder = Encoder(CATALOGUE)
    network = build_network(encoder.features, len(CATALOGUE), PPOConfig())
    deciding, hidden = Deciding(network).eval(), network.start(1)
    inputs = encoder.inputs([situations(CATALOGUE, 3, 5, 40, 0)[-1]])
    given = (inputs.host[None], inputs.slots[None], inputs.present[None], *hidden)
    with torch.no_grad():
        program = torch.export.export(deciding, given, strict=False)
        exported, run = program.module(), runner(machine_code(program))
        calls = {"eager": lambda: deciding(*given), "export": lambda: exported(*given), "aoti": lambda: run([*given])}
        wanted = deciding(*given)
        for name, call in calls.items():
            worst = max(float((one - other).abs().max()) for one, other in zip(wanted, call(), strict=True))
            print(f"policy, {name}: largest difference from eager {worst:.1e}")

    def quietly(call: Callable[[], object]) -> Callable[[], object]:
        def once() -> None:
            with torch.no_grad():
                call()

        return once

    return {name: quietly(call) for name, call in calls.items()}


def row(name: str, what: str, found: dict[str, float]) -> str:
    eager = found["eager"]
    cells = [f"{found[it]:.3f} ms" + ("" if it == "eager" else f" ({eager / found[it]:.2f})") for it in COMPILERS]
    return f"| {name} | {what} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("steps", 50), ("batch", 32), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--blueprints", type=lambda it: it.split(","), default=[*SHAPES], metavar="NAME,...")
    parser.add_argument("--no-policy", action="store_true", help="leave the policy out")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    registry = load_plugins().registry
    lines = ["| seed | step | eager | export | aoti |", "|---|---|---:|---:|---:|"]
    made = ["| seed | compiler | made in | loaded in | bytes |", "|---|---|---:|---:|---:|"]
    for name in options.blueprints:
        layout, shape = SHAPES[name]
        seeds, costs = seeds_of(registry, name, layout, shape)
        h = torch.randn(options.batch, *shape)
        title = f"`{name}`, {layout} {options.batch}x{'x'.join(map(str, shape))}"
        for what, training in (("training", True), ("inference", False)):
            steps = {it: step(seed, h, training=training) for it, seed in seeds.items()}
            lines.append(row(title, what, in_turns(steps, options.steps)))
        made += [f"| `{name}` | {it} | {s:.1f} s | {ms:.0f} ms | {size:,} |" for it, (s, ms, size) in costs.items()]
    if not options.no_policy:
        lines.append(row("network of `ppo`, one host", "inference", in_turns(policy_steps(), options.steps)))
    print("\n".join([*lines, "", *made]))
    print(f"{options.threads} threads, {options.steps} steps, torch {torch.__version__}, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
