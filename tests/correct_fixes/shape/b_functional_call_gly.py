# task: shape-glyph-2
# mechanism: functional-call
# about: The norm layer gets the channels of its convolution. The parameters live outside the network:
# about: torch.func.functional_call with dicts of weights and buffers, gradients by torch.autograd.grad,
# about: the momentum update written out.

"""Train a small convolutional network with torch.func: the module is only the shape of the computation.

Reads data/train.npz and data/score.npz, writes metrics.json and predictions.npz.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import MarkNetwork


def fetch(path, device):
    with np.load(path) as bundle:
        fields = {name: bundle[name] for name in bundle.files}
    return torch.from_numpy(fields.pop("image")).unsqueeze(1).to(device), fields


def train_step(net, weights, buffers, velocity, pictures, targets, rate, momentum=0.9, decay=5e-4):
    """One step of SGD; updates the dicts in place and returns the loss."""
    net.train()
    preds = torch.func.functional_call(net, (weights, buffers), (pictures,))
    loss = F.cross_entropy(preds, targets)
    slopes = dict(zip(weights, torch.autograd.grad(loss, list(weights.values()))))
    with torch.no_grad():
        for name, weight in weights.items():
            velocity[name] = momentum * velocity[name] + slopes[name] + decay * weight
            weight -= rate * velocity[name]
    return loss.item()


def logits(net, weights, buffers, pictures, minibatch_size=500):
    net.eval()
    with torch.no_grad():
        parts = [
            torch.func.functional_call(net, (weights, buffers), (part,))
            for part in pictures.split(minibatch_size)
        ]
    return torch.cat(parts)


def go(total_epochs=6, minibatch_size=24, learning_rate=0.025, share_test=0.2, random_state=1):
    torch.manual_seed(random_state)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pictures, fields = fetch("data/train.npz", device)
    service, _ = fetch("data/score.npz", device)
    targets = torch.from_numpy(fields["label"]).to(device)

    order = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(random_state))
    border = round(len(pictures) * share_test)
    held_out = order[:border]
    test, training = held_out.to(device), order[border:].to(device)
    average, deviation = pictures[training].mean(), pictures[training].std()
    pictures, service = (pictures - average) / deviation, (service - average) / deviation

    net = MarkNetwork(int(targets[training].max()) + 1).to(device)
    weights = {name: weight.detach().clone().requires_grad_() for name, weight in net.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    velocity = {name: torch.zeros_like(weight) for name, weight in weights.items()}

    history = []
    for epoch in range(1, total_epochs + 1):
        rate = learning_rate * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / total_epochs))
        summed_loss = 0.0
        for minibatch in training[torch.randperm(len(training)).to(device)].split(minibatch_size):
            loss = train_step(
                net, weights, buffers, velocity, pictures[minibatch], targets[minibatch], rate
            )
            summed_loss += loss * len(minibatch)
        preds = logits(net, weights, buffers, pictures[test])
        history.append(
            {
                "epoch": epoch,
                "train_loss": summed_loss / len(training),
                "test_loss": F.cross_entropy(preds, targets[test]).item(),
                "accuracy": (preds.argmax(dim=1) == targets[test]).float().mean().item(),
            }
        )
        print("epoch {epoch:2d}  train {train_loss:.4f}  accuracy {accuracy:.3f}".format(**history[-1]))

    final = {name: entry for name, entry in history[-1].items() if name != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=fields["row"][held_out.numpy()],
        output=preds.cpu().numpy(),
        score=logits(net, weights, buffers, service).cpu().numpy(),
    )


if __name__ == "__main__":
    go()

# === file: model.py ===
"""The network: two convolution blocks and a linear classifier."""

from torch import nn


def convolution_block(in_channels, outp_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, outp_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(outp_channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


# the model.
class MarkNetwork(nn.Module):
    def __init__(self, num_categories, base=8, drop_rate=0.2):
        super().__init__()
        self.conv_layers = nn.Sequential(
            convolution_block(1, base),
            convolution_block(base, 2 * base),
        )
        self.top = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(drop_rate),
            nn.Linear(2 * base * 3 * 3, num_categories),
        )

    def forward(self, values):
        return self.top(self.conv_layers(values))
