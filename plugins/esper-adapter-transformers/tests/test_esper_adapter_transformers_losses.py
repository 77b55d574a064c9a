"""The loss of a sample is the loss that the model itself computes for it."""

import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

from esper_adapter_transformers.losses import SampleLoss, logits_of
from esper_core.api import EsperError

BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
GPT2 = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 20, "pad_token_id": 0}
LLAMA = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}
VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 4}
SAMPLES = 5


def tokens():
    return torch.randint(1, 20, (SAMPLES, 7))


def partly_ignored(high):
    labels = torch.randint(0, high, (SAMPLES, 7))
    labels[torch.rand(SAMPLES, 7) < 0.4] = -100
    labels[:, 1] = 1
    return labels


CASES = {
    "next token": lambda: (GPT2LMHeadModel(GPT2Config(**GPT2)), tokens(), partly_ignored(20)),
    "next token, llama": lambda: (LlamaForCausalLM(LlamaConfig(**LLAMA)), tokens(), partly_ignored(20)),
    "masked token": lambda: (BertForMaskedLM(BertConfig(**BERT)), tokens(), partly_ignored(20)),
    "token class": lambda: (BertForTokenClassification(BertConfig(**BERT, num_labels=4)), tokens(), partly_ignored(4)),
    "class": lambda: (
        BertForSequenceClassification(BertConfig(**BERT, num_labels=3)),
        tokens(),
        torch.randint(0, 3, (SAMPLES,)),
    ),
    "class, gpt2": lambda: (
        GPT2ForSequenceClassification(GPT2Config(**GPT2, num_labels=3)),
        tokens(),
        torch.randint(0, 3, (SAMPLES,)),
    ),
    "several classes": lambda: (
        BertForSequenceClassification(BertConfig(**BERT, num_labels=3)),
        tokens(),
        torch.randint(0, 2, (SAMPLES, 3)).float(),
    ),
    "number": lambda: (
        BertForSequenceClassification(BertConfig(**BERT, num_labels=1)),
        tokens(),
        torch.randn(SAMPLES),
    ),
    "class of images": lambda: (
        ViTForImageClassification(ViTConfig(**VIT, patch_size=2, num_labels=4)),
        torch.randn(SAMPLES, 3, 4, 4),
        torch.randint(0, 4, (SAMPLES,)),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_it_is_the_models_own(case):
    torch.manual_seed(0)
    model, inputs, labels = case()
    model.eval()
    with torch.no_grad():
        losses = SampleLoss(model, None, None).losses(model(inputs), labels)
        own = torch.stack([model(inputs[[i]], labels=labels[[i]]).loss for i in range(SAMPLES)])
    assert torch.allclose(losses, own, atol=1e-5)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_all_right_has_an_accuracy_of_one(case):
    torch.manual_seed(0)
    model, inputs, labels = case()
    criterion = SampleLoss(model, None, None)
    with torch.no_grad():
        logits = model(inputs).logits
    if labels.is_floating_point() and labels.ndim == 1:
        assert criterion.correct(logits, labels).isnan().all()
        return
    if labels.is_floating_point():
        right = (logits > 0).float()
    elif "LM" in type(model).__name__ and "Masked" not in type(model).__name__:
        right = torch.cat([labels[:, :1], logits.argmax(-1)[:, :-1]], 1)
    else:
        right = logits.argmax(-1)
    assert criterion.correct(logits, right).tolist() == [1.0] * SAMPLES
    wrong = 1 - right if labels.is_floating_point() else (right + 1) % 3
    assert criterion.correct(logits, wrong).mean() < 0.6


def test_labels_that_are_all_ignored_cost_nothing():
    model, _, labels = CASES["masked token"]()
    losses = SampleLoss(model, None, None).losses(torch.randn(SAMPLES, 7, 20), torch.full_like(labels, -100))
    assert losses.tolist() == [0.0] * SAMPLES


def test_a_model_of_another_kind_must_be_told():
    model = BertForQuestionAnswering(BertConfig(**BERT))
    with pytest.raises(EsperError, match="not known how BertForQuestionAnswering") as caught:
        SampleLoss(model, None, None)
    assert caught.value.code == "E202"
    given = SampleLoss(model, lambda logits, labels: (logits - labels).abs().mean(), None)
    outputs, targets = torch.randn(4, 3), torch.zeros(4, 3)
    assert torch.allclose(given.losses({"logits": outputs}, targets), outputs.abs().mean(1))
    assert given.correct({"logits": outputs}, targets).isnan().all()


@pytest.mark.parametrize("outputs", [{"hidden": torch.zeros(2, 2)}, (torch.tensor(1.0),), None])
def test_outputs_without_logits_are_refused(outputs):
    with pytest.raises(EsperError, match="no logits"):
        logits_of(outputs)


def test_logits_stand_behind_the_loss():
    logits = torch.zeros(2, 3)
    assert logits_of((torch.tensor(1.0), logits)) is logits
    assert logits_of(logits) is logits
