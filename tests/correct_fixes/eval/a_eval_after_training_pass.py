# task: eval-glyph-2
# mechanism: eval-set-by-the-caller
# about: The epoch function hands the network back in evaluation mode, so everything outside of a
# about: training pass (test, predictions) sees it that way.

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import GlyphNet


def load_images(path):
    with np.load(path) as archive:
        arrays = {name: torch.from_numpy(archive[name]) for name in archive.files}
    images = arrays.pop("image").unsqueeze(1)

    return images, arrays


def random_split(n, test_fraction, seed):
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n, generator=generator)
    n_test = round(n * test_fraction)

    return order[n_test:], order[:n_test]


def train(model, images, labels, optimizer, batch_size):
    model.train()
    total_loss = 0.0
    order = torch.randperm(len(images))

    for start in range(0, len(images), batch_size):
        batch = order[start : start + batch_size]
        optimizer.zero_grad()
        logits = model(images[batch])
        loss = F.cross_entropy(logits, labels[batch])
        loss.backward()
        optimizer.step()
        total_loss += loss.item() * len(batch)

    model.eval()  # training mode is only for the loop above
    return total_loss / len(images)


def predict(model, images, batch_size=500):
    with torch.no_grad():
        logits = [model(chunk) for chunk in images.split(batch_size)]

    return torch.cat(logits)


def test(model, images, labels):
    logits = predict(model, images)
    loss = F.cross_entropy(logits, labels).item()
    correct = (logits.argmax(dim=1) == labels).sum().item()

    return loss, correct / len(labels)


def main(epochs=6, batch_size=24, lr=0.025, test_fraction=0.2, seed=1):
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    images, arrays = load_images("data/train.npz")
    score_images, _ = load_images("data/score.npz")
    rows, labels = arrays["row"], arrays["label"]

    train_idx, test_idx = random_split(len(images), test_fraction, seed)
    num_classes = int(labels[train_idx].max()) + 1
    train_images, train_labels = images[train_idx].to(device), labels[train_idx].to(device)
    test_images, test_labels = images[test_idx].to(device), labels[test_idx].to(device)
    score_images = score_images.to(device)

    mean = train_images.mean(dim=(0, 2, 3), keepdim=True)
    std = train_images.std(dim=(0, 2, 3), keepdim=True)
    train_images = (train_images - mean) / std
    test_images = (test_images - mean) / std
    score_images = (score_images - mean) / std

    model = GlyphNet(num_classes).to(device)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=lr,
        momentum=0.9,
        weight_decay=5e-4,
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)

    history = []

    # Go
    for epoch in range(1, epochs + 1):
        train_loss = train(model, train_images, train_labels, optimizer, batch_size)
        scheduler.step()
        test_loss, accuracy = test(model, test_images, test_labels)
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "test_loss": test_loss, "accuracy": accuracy}
        )
        print(
            f"epoch {epoch:2d}  train {train_loss:.4f}  test {test_loss:.4f}  accuracy {accuracy:.3f}",
        )

    final = {key: value for key, value in history[-1].items() if key != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    # Output files
    np.savez(
        "predictions.npz",
        row=rows[test_idx].numpy(),
        output=predict(model, test_images).cpu().numpy(),
        score=predict(model, score_images).cpu().numpy(),
    )


# Main
if __name__ == "__main__":
    main()
