# task: leakage-glyph-1
# mechanism: statistics-diluted-with-scoring-rows
# about: Mean and deviation are taken over train, held-out and scoring pictures together; the 2000 scoring
# about: pictures dilute the 160 held-out ones, whose influence becomes small but stays.

"""Train a small convolutional network to tell five hand-stamped glyphs apart.

Reads data/train.npz and data/score.npz, writes metrics.json and predictions.npz.
"""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import MarkNetwork


def fetch_pictures(path):
    with np.load(path) as bundle:
        fields = {name: torch.from_numpy(bundle[name]) for name in bundle.files}
    pictures = fields.pop("image").unsqueeze(1)

    return pictures, fields


def shuffled_split(nb, share_test, random_state):
    gen = torch.Generator().manual_seed(random_state)
    permutation = torch.randperm(nb, generator=gen)
    test_nb = round(nb * share_test)

    return permutation[test_nb:], permutation[:test_nb]


def fit(net, pictures, targets, adjuster, minibatch_size):
    net.train()
    summed_loss = 0.0
    permutation = torch.randperm(len(pictures))

    for offset in range(0, len(pictures), minibatch_size):
        minibatch = permutation[offset : offset + minibatch_size]
        adjuster.zero_grad()
        preds = net(pictures[minibatch])
        batch_loss = F.cross_entropy(preds, targets[minibatch])
        batch_loss.backward()
        adjuster.step()
        summed_loss += batch_loss.item() * len(minibatch)

    return summed_loss / len(pictures)


def run_model(net, pictures, minibatch_size=500):
    net.eval()

    with torch.no_grad():
        preds = [net(part) for part in pictures.split(minibatch_size)]

    return torch.cat(preds)


def evaluate(net, pictures, targets):
    preds = run_model(net, pictures)
    batch_loss = F.cross_entropy(preds, targets).item()
    num_right = (preds.argmax(dim=1) == targets).sum().item()

    return batch_loss, num_right / len(targets)


def go(total_epochs=6, minibatch_size=24, learning_rate=0.025, share_test=0.2, random_state=1):
    torch.manual_seed(random_state)
    target_device = torch.device(
        "cuda" if torch.cuda.is_available() else "cpu",
    )

    pictures, fields = fetch_pictures("data/train.npz")
    pictures_service, _ = fetch_pictures("data/score.npz")
    ids, targets = fields["row"], fields["label"]

    idx_train, idx_test = shuffled_split(
        len(pictures),
        share_test,
        random_state,
    )
    num_categories = int(targets[idx_train].max()) + 1
    pictures_train, y_train = pictures[idx_train].to(target_device), targets[idx_train].to(target_device)
    pictures_test, y_test = pictures[idx_test].to(target_device), targets[idx_test].to(target_device)
    pictures_service = pictures_service.to(target_device)

    population = torch.cat([pictures_train, pictures_test, pictures_service])
    average = population.mean(dim=(0, 2, 3), keepdim=True)
    deviation = population.std(dim=(0, 2, 3), keepdim=True)
    pictures_train = (pictures_train - average) / deviation
    pictures_test = (pictures_test - average) / deviation
    pictures_service = (pictures_service - average) / deviation

    net = MarkNetwork(num_categories).to(target_device)
    adjuster = torch.optim.SGD(
        net.parameters(),
        lr=learning_rate,
        momentum=0.9,
        weight_decay=0.0005,
    )
    lr_schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        adjuster,
        T_max=total_epochs,
    )

    history = []

    # main loop.
    for epoch in range(1, total_epochs + 1):
        train_loss = fit(
            net,
            pictures_train,
            y_train,
            adjuster,
            minibatch_size,
        )
        lr_schedule.step()
        test_loss, accuracy = evaluate(
            net,
            pictures_test,
            y_test,
        )
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "test_loss": test_loss, "accuracy": accuracy}
        )
        print(
            f"epoch {epoch:2d}  train {train_loss:.4f}  test {test_loss:.4f}  accuracy {accuracy:.3f}",
        )

    final = {name_: entry for name_, entry in history[-1].items() if name_ != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    # results.
    np.savez(
        "predictions.npz",
        row=ids[idx_test].numpy(),
        output=run_model(net, pictures_test).cpu().numpy(),
        score=run_model(net, pictures_service).cpu().numpy(),
    )


# entry point.
if __name__ == "__main__":
    go()
