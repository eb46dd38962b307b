# task: collapse-leakage-glyph-1
# mechanism: one-hot-targets
# about: The cost is the mean of -sum(one_hot * log_softmax); normalisation is a function given the
# about: training images' statistics.

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
        wanted = F.one_hot(classes[minibatch], num_classes=preds.size(1)).to(preds.dtype)
        cost = -(wanted * preds.log_softmax(dim=1)).sum(dim=1).mean()
        cost.backward()
        optim_.step()
        all_loss += cost.item() * len(minibatch)

    return all_loss / len(imgs)


def infer(net, imgs, batch_rows=500):
    net.eval()

    with torch.no_grad():
        preds = [net(block) for block in imgs.split(batch_rows)]

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

    centre = train_imgs.mean().item()
    spread = train_imgs.std().item()

    def rescale(block):
        return (block - centre) / spread

    train_imgs, test_imgs, unlabelled_imgs = map(rescale, (train_imgs, test_imgs, unlabelled_imgs))

    net = StampNetwork(nb_classes).to(run_device)
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
