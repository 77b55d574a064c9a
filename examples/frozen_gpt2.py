"""Adapt a frozen GPT-2 by growing, offline: its own weights never change, seeds are added within a budget."""

import os
import tempfile
import warnings
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace as Run

import torch
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel

from esper_core import grow
from esper_core.api import SiteRequest

LENGTH, WIDTH, BATCH, PRETRAINING_STEPS, EPOCHS, STEPS = 64, 32, 16, 100, 12, 10
#: Seeds in order of preference; in each slot the first one that the budget still allows is tried.
BLUEPRINTS = ("mlp", "attention", "lora")
BUDGET = 0.3


def load_data(folder=""):
    """Sources of the standard library as bytes, (N, LENGTH): to train on, and others to judge by."""
    files = sorted((Path(os.__file__).parent / folder).glob("*.py"))
    tokens = torch.tensor(list(b"".join(file.read_bytes() for file in files)[:300_000])).unfold(0, LENGTH, LENGTH)
    tokens = tokens[torch.randperm(len(tokens), generator=torch.Generator().manual_seed(0))]
    return tokens[64:], tokens[:64]


def loss_of(outputs, tokens):
    """Mean loss of each sequence, in nats; position t is asked for the byte at t + 1."""
    return cross_entropy(outputs.logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none").mean(1)


def pretrain():
    """Make a GPT-2 that has read some modules of the standard library, and freeze it."""
    torch.manual_seed(0)
    sizes = {"n_layer": 3, "n_head": 2, "n_embd": WIDTH, "vocab_size": 256, "n_positions": LENGTH}
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for tokens, _ in zip(cycle(load_data()[0].split(BATCH)), range(PRETRAINING_STEPS), strict=False):
        optimizer.zero_grad()
        loss_of(model(tokens), tokens).mean().backward()
        optimizer.step()
    return model.requires_grad_(False)


def adapt(model, blueprints):
    """Grow seeds behind the MLPs while the model reads text of another kind: tables of encodings."""
    train_tokens, held_out = load_data("encodings")
    # No parameter of the model is trained: the optimizer begins with a group without parameters.
    optimizer = torch.optim.AdamW([{"params": []}], lr=3e-3)
    growth = grow(
        model,
        sites=SiteRequest(path="transformer.h.*.mlp", causal=True),
        optimizer=optimizer,
        epochs=EPOCHS,
        blueprints=blueprints,
        policy={"name": "heuristic", "preference": list(blueprints)},
        settings={"limits": {"max_growth_ratio": BUDGET}, "lifecycle": {"ramp_epochs": 2}},
    )
    batches = cycle(train_tokens.split(BATCH))
    for epoch in range(EPOCHS):
        model.train()
        total = 0.0
        for tokens, _ in zip(batches, range(STEPS), strict=False):
            loss = loss_of(model(tokens), tokens).mean()
            optimizer.zero_grad()
            if loss.requires_grad:  # there is nothing to learn before the first seed
                loss.backward()
            optimizer.step()
            total += loss.item() / STEPS
        outcome = growth.epoch_end([(held_out, held_out)], loss_of, train_loss=total)
        print(f"epoch {epoch + 1:2}  loss {outcome.evidence.validation.loss:.3f} on text that it has not seen")
        for change in outcome.transitions:
            print(f"          {change.slot} {change.blueprint}: {change.source.name} -> {change.target.name}")
    return growth


def continued(model, prompt, **options):
    """Return the prompt with the 30 most likely bytes after it."""
    return model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=30, do_sample=False, **options)


def main(blueprints=BLUEPRINTS):
    model = pretrain()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    own = sum(p.numel() for p in model.parameters())
    growth = adapt(model, blueprints)
    model.eval()
    with warnings.catch_warnings():
        # What is told here: `from_pretrained` would drop what has grown; the cache is off if a seed looks at others.
        warnings.simplefilter("ignore")
        plain = growth.export(live="remove")
    with tempfile.TemporaryDirectory() as folder:
        torch.save(plain, Path(folder) / "grown.pt")
        loaded = torch.load(Path(folder) / "grown.pt", weights_only=False)
    prompt = load_data("encodings")[1][:4, :20]
    text, uncached = continued(loaded, prompt), continued(loaded, prompt, use_cache=False)
    print("\n" + repr(bytes(text[0].tolist()).decode(errors="replace")))
    added = sum(p.numel() for p in plain.parameters()) / own - 1
    print(f"{own} parameters, and {100 * added:.0f} % were added; decoding uses its cache: {loaded.config.use_cache}")
    return Run(growth=growth, model=model, before=before, added=added, loaded=loaded, text=text, uncached=uncached)


if __name__ == "__main__":
    main()
