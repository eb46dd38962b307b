# task: eval-glyph-1
# mechanism: eval-mode-only-for-scoring-rows
# about: The reverse: scoring rows in eval mode, held-out rows are still evaluated in training mode (each
# about: epoch and in the output), by a flag with a wrong default.

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import StampNetwork


def load_pictures(path):
    with np.load(path) as archive:
        arrays = {name: torch.from_numpy(archive[name]) for name in archive.files}
    pictures = arrays.pop("image").unsqueeze(1)
    return pictures, arrays


def random_split(nb, frac_test, seed):
    rng = torch.Generator().manual_seed(seed)
    order = torch.randperm(nb, generator=rng)
    test_nb = round(nb * frac_test)
    return order[test_nb:], order[:test_nb]


def train(model, pictures, classes, optimizer, batch_size):
    model.train()
    running_loss = 0.0
    order = torch.randperm(len(pictures))
    for offset in range(0, len(pictures), batch_size):
        batch = order[offset : offset + batch_size]
        optimizer.zero_grad()
        out = model(pictures[batch])
        objective = F.cross_entropy(out, classes[batch])
        objective.backward()
        optimizer.step()
        running_loss += objective.item() * len(batch)
    return running_loss / len(pictures)


def forward_all(model, pictures, batch_size=500, serving=False):
    model.train(not serving)
    with torch.no_grad():
        out = [model(part) for part in pictures.split(batch_size)]
    return torch.cat(out)


def test(model, pictures, classes):
    out = forward_all(model, pictures)
    objective = F.cross_entropy(out, classes).item()
    correct = (out.argmax(dim=1) == classes).sum().item()
    return objective, correct / len(classes)


def run_job(epochs=6, batch_size=24, learning_rate=0.025, frac_test=0.2, seed=1):
    torch.manual_seed(seed)
    target_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    pictures, arrays = load_pictures("data/train.npz")
    pictures_service, _ = load_pictures("data/score.npz")
    ix, classes = arrays["row"], arrays["label"]

    ix_train, ix_test = random_split(len(pictures), frac_test, seed)
    num_categories = int(classes[ix_train].max()) + 1
    pictures_train, classes_train = pictures[ix_train].to(target_device), classes[ix_train].to(target_device)
    pictures_test, classes_test = pictures[ix_test].to(target_device), classes[ix_test].to(target_device)
    pictures_service = pictures_service.to(target_device)

    mu = pictures_train.mean(dim=(0, 2, 3), keepdim=True)
    sigma = pictures_train.std(dim=(0, 2, 3), keepdim=True)
    pictures_train = (pictures_train - mu) / sigma
    pictures_test = (pictures_test - mu) / sigma
    pictures_service = (pictures_service - mu) / sigma

    model = StampNetwork(num_categories).to(target_device)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=learning_rate,
        momentum=0.9,
        weight_decay=0.0005,
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)

    history = []
    for epoch in range(1, epochs + 1):
        train_loss = train(model, pictures_train, classes_train, optimizer, batch_size)
        scheduler.step()
        test_loss, accuracy = test(model, pictures_test, classes_test)
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "test_loss": test_loss, "accuracy": accuracy}
        )
        print(
            f"Epoch {epoch:03d}  Trn {train_loss:.6f}  test {test_loss:.6f}  Accuracy {accuracy:.5f}",
        )

    final = {name_: value for name_, value in history[-1].items() if name_ != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=ix[ix_test].numpy(),
        output=forward_all(model, pictures_test).cpu().numpy(),
        score=forward_all(model, pictures_service, serving=True).cpu().numpy(),
    )


if __name__ == "__main__":
    run_job()
