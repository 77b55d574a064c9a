"""Tiny models with random weights, made-up data, and the real Trainer."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2LMHeadModel, Trainer
from transformers import TrainingArguments as Arguments

from esper_adapter_transformers import EsperCallback
from esper_core.api import WAIT, Action, Blend, Decision, Op, SiteRequest

VOCABULARY, LENGTH = 32, 12
QUICK = {"gates": "permissive", "settings": {"lifecycle": {"ramp_epochs": 1}}, "blueprints": ["mlp"]}


class Eager:
    """Germinates wherever it may, and keeps whatever it may."""

    def reset(self, begun):
        pass

    def decide(self, situations):
        return [Decision(actions=[self._decide(situation.masks)]) for situation in situations]

    def _decide(self, mask):
        if mask.fossilize:
            return Action(op=Op.FOSSILIZE, slot=min(mask.fossilize))
        free = [slot for slot in mask.slots if mask.blueprints_for(slot)]
        if not free:
            return WAIT
        blueprint = min(mask.blueprints_for(free[0]))
        return Action(op=Op.GERMINATE, slot=free[0], blueprint=blueprint, blend=Blend.LINEAR)


class Never:
    """Never grows anything."""

    def reset(self, begun):
        pass

    def decide(self, situations):
        return [Decision() for _ in situations]


def sequences(count, seed):
    """Each token follows from the one before it, most of the time."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, VOCABULARY, (count, LENGTH), generator=generator)
    for position in range(1, LENGTH):
        follows = (tokens[:, position - 1] * 5 + 3) % VOCABULARY
        tokens[:, position] = torch.where(torch.rand(count, generator=generator) < 0.9, follows, tokens[:, position])
    return [{"input_ids": row, "labels": row} for row in tokens]


def documents(count, seed):
    """Documents of several lengths, of a class that follows from the first word."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, LENGTH, (count,), generator=generator).tolist()
    rows = [torch.randint(1, VOCABULARY, (length,), generator=generator) for length in lengths]
    return [{"input_ids": row, "labels": row[0] % 3} for row in rows]


def pad(rows):
    """A collator with dynamic padding."""
    length = max(len(row["input_ids"]) for row in rows)
    tokens = torch.zeros(len(rows), length, dtype=torch.long)
    for place, row in enumerate(rows):
        tokens[place, : len(row["input_ids"])] = row["input_ids"]
    labels = torch.stack([row["labels"] for row in rows])
    return {"input_ids": tokens, "attention_mask": (tokens > 0).long(), "labels": labels}


def gpt2():
    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": LENGTH, "vocab_size": VOCABULARY}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None))


def bert():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return BertForSequenceClassification(
        BertConfig(**sizes, vocab_size=VOCABULARY, max_position_embeddings=LENGTH, num_labels=3)
    )


@pytest.fixture
def arguments(tmp_path):
    def make(**changes):
        defaults = {
            "output_dir": tmp_path / "out",
            "num_train_epochs": 6,
            "per_device_train_batch_size": 8,
            "learning_rate": 0.01,
            "eval_strategy": "epoch",
            "save_strategy": "no",
            "use_cpu": True,
            "report_to": "none",
            "disable_tqdm": True,
            "logging_strategy": "steps",
            "logging_steps": 1,
        }
        return Arguments(**defaults | changes)

    return make


@pytest.fixture
def trainer(arguments):
    """A Trainer of a tiny GPT-2 that does not grow yet."""

    def make(**changes):
        data = {"train_dataset": sequences(48, 1), "eval_dataset": sequences(32, 2)}
        return Trainer(model=gpt2(), args=arguments(**changes), **data)

    return make


@pytest.fixture
def growing(trainer):
    """A Trainer of a tiny GPT-2 and its callback."""

    def make(options=None, **changes):
        made = trainer(**changes)
        options = (
            {"sites": SiteRequest(path="transformer.h.*.mlp", causal=True), "policy": Eager()} | QUICK | (options or {})
        )
        return made, EsperCallback(made, **options)

    return make


@pytest.fixture
def classifying(arguments):
    """A Trainer of a tiny BERT on documents of several lengths, and its callback."""

    def make(options=None, **changes):
        data = {"train_dataset": documents(48, 1), "eval_dataset": documents(26, 2), "data_collator": pad}
        made = Trainer(model=bert(), args=arguments(**changes), **data)
        options = {"sites": ["bert.encoder.layer.*"], "policy": Eager()} | QUICK | (options or {})
        return made, EsperCallback(made, **options)

    return make


@pytest.fixture
def never():
    return Never()


@pytest.fixture
def models():
    return {"gpt2": gpt2, "bert": bert}
