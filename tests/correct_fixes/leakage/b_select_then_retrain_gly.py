# task: leakage-glyph-1
# mechanism: retrain-after-selection
# about: Scaling is fitted on rows that are trained on. A short run with a validation part picks one of two
# about: weight decays by validation loss, and a fresh network is trained with it on training and
# about: validation rows.

"""Glyph classifier: weight decay chosen on validation rows, final network trained from scratch.

Reads data/train.npz and data/score.npz, writes metrics.json and predictions.npz.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import MarkNetwork

SEED = 1
MINIBATCH = 24
LEARNING_RATE = 0.025
CANDIDATES = (5e-4, 5e-3)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def scaler_for(pictures):
    average = pictures.mean(dim=(0, 2, 3), keepdim=True)
    deviation = pictures.std(dim=(0, 2, 3), keepdim=True)
    return lambda part: (part - average) / deviation


def logits(net, pictures):
    net.eval()
    with torch.no_grad():
        return torch.cat([net(part) for part in pictures.split(500)])


def train(pictures, targets, num_categories, decay, total_epochs, note=lambda epoch, loss: None):
    """A network trained from a fresh start."""
    torch.manual_seed(SEED)
    net = MarkNetwork(num_categories).to(DEVICE)
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE, momentum=0.9, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total_epochs)
    for epoch in range(1, total_epochs + 1):
        net.train()
        summed_loss = 0.0
        for minibatch in torch.randperm(len(pictures)).to(DEVICE).split(MINIBATCH):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(pictures[minibatch]), targets[minibatch])
            loss.backward()
            optimizer.step()
            summed_loss += loss.item() * len(minibatch)
        schedule.step()
        note(epoch, summed_loss / len(pictures))
    return net


def main():
    with np.load("data/train.npz") as bundle:
        ids = bundle["row"]
        pictures = torch.from_numpy(bundle["image"]).unsqueeze(1).to(DEVICE)
        targets = torch.from_numpy(bundle["label"]).to(DEVICE)
    with np.load("data/score.npz") as bundle:
        service = torch.from_numpy(bundle["image"]).unsqueeze(1).to(DEVICE)

    order = torch.from_numpy(np.random.default_rng(SEED).permutation(len(ids)))
    test, valid, part = order.split([len(ids) // 5, len(ids) // 8, len(ids) - len(ids) // 5 - len(ids) // 8])
    rest = torch.cat([part, valid])
    test_on, valid_on, part_on, rest_on = (index.to(DEVICE) for index in (test, valid, part, rest))
    num_categories = int(targets[rest_on].max()) + 1

    scale = scaler_for(pictures[part_on])
    chosen, lowest = None, float("inf")
    for decay in CANDIDATES:
        net = train(scale(pictures[part_on]), targets[part_on], num_categories, decay, 3)
        loss = F.cross_entropy(logits(net, scale(pictures[valid_on])), targets[valid_on]).item()
        print(f"weight decay {decay:g}: validation loss {loss:.4f}")
        if loss < lowest:
            chosen, lowest = decay, loss

    history = []
    scale = scaler_for(pictures[rest_on])
    net = train(
        scale(pictures[rest_on]),
        targets[rest_on],
        num_categories,
        chosen,
        6,
        note=lambda epoch, loss: history.append({"epoch": epoch, "train_loss": loss}),
    )

    output = logits(net, scale(pictures[test_on]))
    final = {
        "train_loss": history[-1]["train_loss"],
        "test_loss": F.cross_entropy(output, targets[test_on]).item(),
        "accuracy": (output.argmax(dim=1) == targets[test_on]).float().mean().item(),
        "weight_decay": chosen,
    }
    print(final)
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=ids[test.numpy()],
        output=output.cpu().numpy(),
        score=logits(net, scale(service)).cpu().numpy(),
    )


if __name__ == "__main__":
    main()
