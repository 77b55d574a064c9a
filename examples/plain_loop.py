"""Grow a ResNet in a plain PyTorch loop: save while seeds are alive, resume, and export an ordinary network."""

from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace as Run

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

from esper_core import grow
from esper_core.api import Stage

EPOCHS, BATCH = 30, 64


class Block(nn.Module):
    """A residual block: batch normalisation and ReLUs in place."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + self.shortcut(x))


class ResNet(nn.Module):
    """A ResNet that is too narrow for its data, so that there is something to grow for."""

    def __init__(self, width=3):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.layer1 = nn.Sequential(Block(width, width, 1))
        self.layer2 = nn.Sequential(Block(width, 2 * width, 2))
        self.fc = nn.Linear(2 * width, 10)

    def forward(self, x):
        return self.fc(self.layer2(self.layer1(self.stem(x))).mean((2, 3)))


def load_data():
    """Real images of 8 x 8 pixels: for training, for judging seeds, and for the end."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
    images = torch.tensor(digits.images, dtype=torch.float32)[order, None] / 16
    targets = torch.tensor(digits.target)[order]
    return zip(images.split([1077, 360, 360]), targets.split([1077, 360, 360]), strict=True)


def begin():
    """Make a network, its optimizer and its schedule as ever, and let it grow: one line."""
    torch.manual_seed(0)
    model = ResNet()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    growth = grow(model, sites=["layer*"], optimizer=optimizer, scheduler=scheduler, epochs=EPOCHS)
    return Run(growth=growth, model=model, optimizer=optimizer, scheduler=scheduler)


def train_epoch(run, images, targets, epoch):
    """An epoch as in any loop; returns the accuracy."""
    run.model.train()
    right = 0
    for rows in torch.randperm(len(targets), generator=torch.Generator().manual_seed(epoch)).split(BATCH):
        outputs = run.model(images[rows])
        run.optimizer.zero_grad()
        cross_entropy(outputs, targets[rows]).backward()
        run.optimizer.step()
        right += int((outputs.argmax(1) == targets[rows]).sum())
    run.scheduler.step()
    return right / len(targets)


def train(run, data, checkpoint=None):
    """Train to the end, and say what happens; save to `checkpoint` once a seed has an effect."""
    while run.growth.epoch < EPOCHS:
        accuracy = train_epoch(run, *data[0], run.growth.epoch)
        outcome = run.growth.epoch_end([data[1]], cross_entropy, train_accuracy=accuracy)
        for change in outcome.transitions:
            print(f"epoch {run.growth.epoch:2}  {change.slot}: {change.source.name} -> {change.target.name}")
        blending = [slot.site.id for slot in run.growth.slots if slot.stage is Stage.BLENDING]
        if checkpoint and not checkpoint.exists() and blending:
            parts = ("growth", "model", "optimizer", "scheduler")  # the growth is loaded first: it makes the seeds
            torch.save({part: getattr(run, part).state_dict() for part in parts}, checkpoint)
            print(f"epoch {run.growth.epoch:2}  saved, with a live seed in {', '.join(blending)}")


def main():
    data = tuple(load_data())
    with TemporaryDirectory() as folder:
        run, checkpoint = begin(), Path(folder, "checkpoint.pt")
        train(run, data, checkpoint)
        print("\nresumed from the checkpoint:")
        resumed = begin()
        for part, state in torch.load(checkpoint, weights_only=True).items():
            getattr(resumed, part).load_state_dict(state)
        train(resumed, data)
    same = all(torch.equal(a, b) for a, b in zip(run.model.parameters(), resumed.model.parameters(), strict=True))
    plain = run.growth.export(live="remove")
    images, targets = data[2]
    with torch.no_grad():
        ours, theirs = plain.eval()(images), run.model.eval()(images)
    difference, accuracy = float((ours - theirs).abs().max()), float((ours.argmax(1) == targets).float().mean())
    print(f"\nresumed network equals the first one: {same}; the exported one differs by {difference:.1e}")
    print(f"test accuracy {100 * accuracy:.1f} % with {sum(p.numel() for p in plain.parameters())} parameters")
    return Run(run=run, resumed=resumed, plain=plain, same=same, difference=difference, accuracy=accuracy)


if __name__ == "__main__":
    main()
