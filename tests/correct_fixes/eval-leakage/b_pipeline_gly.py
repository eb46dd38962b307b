# task: eval-leakage-glyph-1
# mechanism: scaler-object
# about: A Standardiser that is fitted on the training images only and kept in one object with the network,
# about: in the style of fit/transform; prediction runs under a decorator that puts the network into
# about: evaluation mode.

"""Train a small convolutional network to tell five hand-stamped glyphs apart."""

import functools
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import StampNetwork


class Standardiser:
    """fit() on training images, transform() on any."""

    def fit(self, imgs):
        self.centre = imgs.mean()
        self.spread = imgs.std()
        return self

    def transform(self, imgs):
        return (imgs - self.centre) / self.spread

    def fit_transform(self, imgs):
        return self.fit(imgs).transform(imgs)


def inference(function):
    """Run a function of a network in evaluation mode, without gradients."""

    @functools.wraps(function)
    def wrapped(net, *arguments):
        net.eval()
        with torch.no_grad():
            return function(net, *arguments)

    return wrapped


@inference
def infer(net, imgs):
    return torch.cat([net(block) for block in imgs.split(500)])


@inference
def check(net, imgs, classes):
    preds = net(imgs)
    return F.cross_entropy(preds, classes).item(), (preds.argmax(1) == classes).float().mean().item()


class GlyphClassifier:
    """Scaler, network and training in one object with fit() and logits()."""

    def __init__(self, nb_classes, device, num_epochs=6, batch_rows=24, learning_rate=0.025):
        self.device, self.num_epochs, self.batch_rows = device, num_epochs, batch_rows
        self.scaler = Standardiser()
        self.net = StampNetwork(nb_classes).to(device)
        self.optim = torch.optim.SGD(
            self.net.parameters(), lr=learning_rate, momentum=0.9, weight_decay=5e-4
        )
        self.sched = torch.optim.lr_scheduler.CosineAnnealingLR(self.optim, T_max=num_epochs)

    def epochs(self, imgs, classes):
        """Train; yields the mean training loss of every epoch."""
        imgs = self.scaler.fit_transform(imgs.to(self.device))
        classes = classes.to(self.device)
        for _ in range(self.num_epochs):
            self.net.train()
            total = 0.0
            for minibatch in torch.randperm(len(imgs)).to(self.device).split(self.batch_rows):
                cost = F.cross_entropy(self.net(imgs[minibatch]), classes[minibatch])
                self.optim.zero_grad()
                cost.backward()
                self.optim.step()
                total += cost.item() * len(minibatch)
            self.sched.step()
            yield total / len(imgs)

    def check(self, imgs, classes):
        return check(self.net, self.scaler.transform(imgs.to(self.device)), classes.to(self.device))

    def logits(self, imgs):
        return infer(self.net, self.scaler.transform(imgs.to(self.device))).cpu().numpy()


def go(test_share=0.2, random_seed=1):
    torch.manual_seed(random_seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as bundle:
        ids, classes = bundle["row"], torch.from_numpy(bundle["label"])
        imgs = torch.from_numpy(bundle["image"])[:, None]
    with np.load("data/score.npz") as bundle:
        unlabelled = torch.from_numpy(bundle["image"])[:, None]

    perm = torch.randperm(len(imgs), generator=torch.Generator().manual_seed(random_seed))
    num_test = round(len(imgs) * test_share)
    test, training = perm[:num_test], perm[num_test:]
    classifier = GlyphClassifier(int(classes[training].max()) + 1, device)

    history = []
    for epoch, train_loss in enumerate(classifier.epochs(imgs[training], classes[training]), start=1):
        test_loss, accuracy = classifier.check(imgs[test], classes[test])
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "test_loss": test_loss, "accuracy": accuracy}
        )
        print(f"pass {epoch:03d} - fit {train_loss:.4f} - test {test_loss:.4f} - acc {accuracy:.3f}")

    final = {name: entry for name, entry in history[-1].items() if name != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=ids[test.numpy()],
        output=classifier.logits(imgs[test]),
        score=classifier.logits(unlabelled),
    )


if __name__ == "__main__":
    go()
