"""Libraries that wrap a network or run its training."""

import os
import socket
import tempfile
from typing import Any

import torch
from torch import Tensor, nn

from trials.growing import (
    EPOCHS,
    QUICK,
    Net,
    OneSeed,
    exported,
    grow,
    grown,
    kept,
    loss_of,
    train,
    vectors,
)
from trials.trial import Trial, Wrong

_HOUSE = {**QUICK, "blueprints": ["mlp"]}


def trials() -> list[Trial]:
    """Every one."""
    return [
        Trial("Wrapped networks", "PEFT: LoRA on a GPT-2, sites by name", _peft, needs=("transformers", "peft")),
        Trial("Wrapped networks", "LoRA written by hand around a frozen layer", _lora),
        Trial("Wrapped networks", "a layer quantised by `torch.ao` (dynamic, int8), and trained around", _quantised),
        Trial("Wrapped networks", "`torch.ao`'s dynamic quantisation of what was exported", _quantised_export),
        Trial("Wrapped networks", "`nn.DataParallel` on a CPU", _data_parallel),
        Trial("Wrapped networks", "`weight_norm` at the site", _weight_norm),
        Trial("Frameworks", "DistributedDataParallel of one process (gloo)", _ddp),
        Trial("Frameworks", "accelerate: `prepare` and `backward`", _accelerate, needs=("accelerate",)),
        Trial("Frameworks", "the Trainer of transformers", _trainer, needs=("transformers", "accelerate")),
        Trial("Frameworks", "Lightning", _lightning, needs=("pytorch_lightning",)),
    ]


def _peft() -> str:
    import peft
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=32, n_positions=8, n_embd=16, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2)
    model = peft.get_peft_model(
        GPT2LMHeadModel(config), peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    )
    tokens, targets = torch.randint(3, 32, (8, 8)), torch.randint(0, 4, (8,))
    batches = [({"input_ids": tokens[i : i + 4]}, targets[i : i + 4]) for i in (0, 4)]
    return grown(model, batches, sites=["base_model.model.transformer.h.*"], blueprint="mlp")


class _Lora(nn.Module):
    """A frozen layer and an update of low rank."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down, self.up = nn.Linear(layer.in_features, 2, bias=False), nn.Linear(2, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x) + self.up(self.down(x))
        return out


def _lora() -> str:
    model = Net().requires_grad_(False)
    model.b = _Lora(model.b)  # type: ignore[assignment]
    return grown(model, vectors(), sites=["b"])


def _quantised() -> str:
    model = Net()
    model.b = torch.ao.quantization.quantize_dynamic(nn.Sequential(model.b), {nn.Linear}, torch.qint8)[0]
    return grown(model, vectors(), sites=["b"])


def _quantised_export() -> str:
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    with grow(model, optimizer, sites=["b"]) as handle:
        train(handle, vectors())
        kept(handle)
        plain, x = handle.export().eval(), vectors()[0][0]
        small = torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, torch.qint8)
        with torch.no_grad():
            apart = float((small(x) - plain(x)).abs().max() / plain(x).abs().max())
    left = sum(isinstance(part, nn.Linear) for part in small.modules())
    if left or apart > 0.1:
        raise Wrong(f"{left} layers are as before, outputs differ by {100 * apart:.0f} %")
    return f"1 seed kept; all layers are quantised, outputs differ by {100 * apart:.1f} %"


def _data_parallel() -> str:
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    with grow(model, optimizer, sites=["b"]) as handle:
        train(handle, vectors(), model=nn.DataParallel(model))
        return exported(handle, vectors()[0][0])


def _weight_norm() -> str:
    model = Net()
    model.b = nn.utils.parametrizations.weight_norm(model.b)
    return grown(model, vectors(), sites=["b"])


def _ddp() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=0, world_size=1)
    try:
        model = Net()
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
        with grow(model, optimizer, sites=["b"]) as handle:
            train(handle, vectors(), model=nn.parallel.DistributedDataParallel(model))
            return exported(handle, vectors()[0][0])
    finally:
        torch.distributed.destroy_process_group()


def _accelerate() -> str:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model = Net()
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=5e-3))

    def step(model: nn.Module, _: Any, x: Any, y: Tensor) -> None:
        optimizer.zero_grad()
        accelerator.backward(loss_of(model(x), y))
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    with grow(model, optimizer, sites=["b"]) as handle:
        train(handle, vectors(), step=step)
        return exported(handle, vectors()[0][0])


def _trainer() -> str:
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    from esper_adapter_transformers import EsperCallback

    config = GPT2Config(vocab_size=32, n_positions=8, n_embd=16, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2)
    rows = [{"input_ids": row, "labels": row} for row in torch.randint(3, 32, (16, 8))]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=8,
            eval_strategy="epoch",
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            learning_rate=5e-3,
        )
        trainer = Trainer(GPT2LMHeadModel(config), arguments, train_dataset=rows, eval_dataset=rows)
        callback = EsperCallback(trainer, policy=OneSeed("mlp"), **_HOUSE)
        trainer.train()
        return exported(callback.handle, {"input_ids": rows[0]["input_ids"][None]})


def _lightning() -> str:
    import pytorch_lightning as lightning
    from torch.utils.data import DataLoader, TensorDataset

    from esper_adapter_lightning import EsperCallback

    class Module(lightning.LightningModule):
        """Trains `Net`."""

        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def training_step(self, batch: Any, index: int) -> Tensor:
            """The loss of a batch."""
            x, y = batch
            return loss_of(self.net(x), y)

        def validation_step(self, batch: Any, index: int) -> None:
            """Nothing: the callback measures."""

        def configure_optimizers(self) -> torch.optim.Optimizer:
            """AdamW."""
            return torch.optim.AdamW(self.parameters(), lr=5e-3)

    inputs, targets = (torch.cat(parts) for parts in zip(*vectors(), strict=True))
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=24)
    callback = EsperCallback(["b"], loss=loss_of, network="net", policy=OneSeed("mlp"), **_HOUSE)
    module = Module()
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
            callbacks=[callback],
            gradient_clip_val=1.0,
        )
        trainer.fit(module, loader, loader)
    return exported(callback.handle, vectors()[0][0])
