"""Grow a small GPT-2 of transformers while it learns to write Python, offline: from the standard library's sources."""

import os
from pathlib import Path
from types import SimpleNamespace as Run

import torch
from torch.nn.functional import cross_entropy
from transformers import GPT2Config, GPT2LMHeadModel

from esper_core import grow
from esper_core.api import SiteRequest

EPOCHS, STEPS, BATCH, LENGTH, WIDTH = 12, 30, 16, 64, 32


def load_data():
    """Sources of the standard library as bytes: (N, LENGTH) tokens for training, and others for judging seeds."""
    files = sorted(Path(os.__file__).parent.glob("*.py"))
    text = b"".join(file.read_bytes() for file in files)[: (EPOCHS * STEPS * BATCH + 128) * LENGTH]
    tokens = torch.tensor(list(text)).unfold(0, LENGTH, LENGTH)
    tokens = tokens[torch.randperm(len(tokens), generator=torch.Generator().manual_seed(0))]
    return tokens[128:], tokens[:128]


def loss_of(outputs, tokens):
    """Mean loss of each sequence, in nats; position t is asked for the byte at t + 1."""
    return cross_entropy(outputs.logits[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none").mean(1)


def accuracy_of(outputs, tokens):
    """Share of right bytes of each sequence."""
    return (outputs.logits[:, :-1].argmax(-1) == tokens[:, 1:]).float().mean(1)


def make_model():
    torch.manual_seed(0)
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": WIDTH, "vocab_size": 256, "n_positions": LENGTH}
    return GPT2LMHeadModel(GPT2Config(**sizes, use_cache=False, bos_token_id=None, eos_token_id=None))


def train(model, data, growing):
    """Train; let it grow, or not. Returns what is known at the end, and prints what happens."""
    train_tokens, held_out = data
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    # With esper-host-hf installed, sites and causality need not be given: it knows the models of transformers.
    sites = SiteRequest(path="transformer.h.*.mlp", causal=True)
    growth = grow(model, sites=sites, optimizer=optimizer, epochs=EPOCHS) if growing else None
    batches = iter(train_tokens.split(BATCH) * (1 + EPOCHS * STEPS * BATCH // len(train_tokens)))
    for epoch in range(EPOCHS):
        model.train()
        right = 0.0
        for _ in range(STEPS):
            tokens = next(batches)
            outputs = model(tokens)
            optimizer.zero_grad()
            loss_of(outputs, tokens).mean().backward()
            optimizer.step()
            right += float(accuracy_of(outputs, tokens).mean()) / STEPS
        if growth is not None:
            report(growth.epoch_end([(held_out, held_out)], loss_of, train_accuracy=right, metric=accuracy_of), epoch)
    model.eval()
    with torch.no_grad():
        return Run(model=model, growth=growth, loss=float(loss_of(model(held_out), held_out).mean()))


def report(outcome, epoch):
    print(f"epoch {epoch + 1:2}  loss {outcome.evidence.validation.loss:.3f} on text that it has not seen")
    for change in outcome.transitions:
        print(f"          {change.slot}: {change.source.name} -> {change.target.name}   {change.reason}")


def main():
    data = load_data()
    grown, twin = train(make_model(), data, growing=True), train(make_model(), data, growing=False)
    print(f"\ngrown: loss {grown.loss:.3f}, {sum(p.numel() for p in grown.model.parameters())} parameters")
    print(f"twin:  loss {twin.loss:.3f}, {sum(p.numel() for p in twin.model.parameters())} parameters")
    plain = grown.growth.export(live="remove")
    return Run(grown=grown, twin=twin, plain=plain, held_out=data[1])


if __name__ == "__main__":
    main()
