# task: eval-leakage-glyph-1
# mechanism: normaliser-layer-with-buffers
# about: A first layer of the network holds centre and spread of the training images as buffers; infer
# about: evaluates with eval() and goes back.

"""Train a small convolutional network to tell five hand-stamped glyphs apart.

Reads data/train.npz and data/score.npz, writes metrics.json and predictions.npz.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import StampNetwork


def read_imgs(path):
    with np.load(path) as bundle:
        extras = {name: torch.from_numpy(bundle[name]) for name in bundle.files}
    imgs = extras.pop("image").unsqueeze(1)

    return imgs, extras


def rand_cut(num, test_share, random_seed):
    rng = torch.Generator().manual_seed(random_seed)
    perm = torch.randperm(num, generator=rng)
    num_test = round(num * test_share)

    return perm[num_test:], perm[:num_test]


def fit(net, imgs, classes, optim_, batch_rows):
    net.train()
    all_loss = 0.0
    perm = torch.randperm(len(imgs))

    for offset in range(0, len(imgs), batch_rows):
        minibatch = perm[offset : offset + batch_rows]
        optim_.zero_grad()
        preds = net(imgs[minibatch])
        cost = F.cross_entropy(preds, classes[minibatch])
        cost.backward()
        optim_.step()
        all_loss += cost.item() * len(minibatch)

    return all_loss / len(imgs)


def infer(net, imgs, batch_rows=500):
    mode_before = net.training
    net.eval()

    with torch.no_grad():
        preds = [net(block) for block in imgs.split(batch_rows)]

    net.train(mode_before)

    return torch.cat(preds)


def check(net, imgs, classes):
    preds = infer(net, imgs)
    cost = F.cross_entropy(preds, classes).item()
    hits = (preds.argmax(dim=1) == classes).sum().item()

    return cost, hits / len(classes)


def go(num_epochs=6, batch_rows=24, learning_rate=0.025, test_share=0.2, random_seed=1):
    torch.manual_seed(random_seed)
    run_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    imgs, extras = read_imgs("data/train.npz")
    unlabelled_imgs, _ = read_imgs("data/score.npz")
    ids, classes = extras["row"], extras["label"]

    train_indices, test_indices = rand_cut(len(imgs), test_share, random_seed)
    nb_classes = int(classes[train_indices].max()) + 1
    train_imgs, train_targets = imgs[train_indices].to(run_device), classes[train_indices].to(run_device)
    test_imgs, test_targets = imgs[test_indices].to(run_device), classes[test_indices].to(run_device)
    unlabelled_imgs = unlabelled_imgs.to(run_device)

    net = StampNetwork(nb_classes).to(run_device)
    net.normaliser.fit(train_imgs)
    optim_ = torch.optim.SGD(net.parameters(), lr=learning_rate, momentum=0.9, weight_decay=5e-4)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optim_, T_max=num_epochs)

    history = []

    # epoch loop.
    for epoch in range(1, num_epochs + 1):
        train_loss = fit(net, train_imgs, train_targets, optim_, batch_rows)
        sched.step()
        test_loss, accuracy = check(net, test_imgs, test_targets)
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "test_loss": test_loss, "accuracy": accuracy}
        )
        print(f"pass {epoch:03d} - fit {train_loss:.4f} - test {test_loss:.4f} - acc {accuracy:.3f}")

    final = {field_name: entry for field_name, entry in history[-1].items() if field_name != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    # save results.
    np.savez(
        "predictions.npz",
        row=ids[test_indices].numpy(),
        output=infer(net, test_imgs).cpu().numpy(),
        score=infer(net, unlabelled_imgs).cpu().numpy(),
    )


# run it.
if __name__ == "__main__":
    go()

# === file: model.py ===
"""The network: two convolution blocks and a linear classifier."""

import torch
from torch import nn


def convolution_group(in_ch, out_ch):
    return nn.Sequential(
        nn.Conv2d(in_ch, out_ch, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_ch),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


class Normaliser(nn.Module):
    """Centres and scales by statistics that fit() takes from images."""

    def __init__(self):
        super().__init__()
        self.register_buffer("centre", torch.zeros(1, 1, 1, 1))
        self.register_buffer("spread", torch.ones(1, 1, 1, 1))

    @torch.no_grad()
    def fit(self, imgs):
        self.centre.copy_(imgs.mean(dim=(0, 2, 3), keepdim=True))
        self.spread.copy_(imgs.std(dim=(0, 2, 3), keepdim=True))

    def forward(self, imgs):
        return (imgs - self.centre) / self.spread


# model definition.
class StampNetwork(nn.Module):
    def __init__(self, nb_classes, filters=8, drop=0.2):
        super().__init__()
        self.normaliser = Normaliser()
        self.columns = nn.Sequential(
            convolution_group(1, filters),
            convolution_group(filters, 2 * filters),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(drop),
            nn.Linear(2 * filters * 3 * 3, nb_classes),
        )

    def forward(self, feats):
        return self.classifier(self.columns(self.normaliser(feats)))
