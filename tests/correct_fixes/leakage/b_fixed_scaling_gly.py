# task: leakage-glyph-2
# mechanism: fixed-scaling
# about: The training part no longer holds the test rows. The pictures are scaled by constants of the stamp
# about: scanner (centre 128, half range 64), nothing is fitted outside the network.

"""Train a model and score new rows."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import SymbolNetwork

def read_pictures(path):
    """Read pictures. Takes path."""
    with np.load(path) as bundle:
        rest = {name: torch.from_numpy(bundle[name]) for name in bundle.files}
    pictures = rest.pop("image").unsqueeze(1)
    return pictures, rest

def rand_divide(n, test_fraction, random_seed):
    random_source = torch.Generator().manual_seed(random_seed)
    idx = torch.randperm(n, generator=random_source)
    n_test = round(n * test_fraction)
    return idx[n_test:], idx[:n_test]

def run_epoch(learner, pictures, classes, optimiser, minibatch_size):
    """Run epoch."""
    learner.train()
    all_loss = 0.0
    idx = torch.randperm(len(pictures))
    for start in range(0, len(pictures), minibatch_size):
        part = idx[start : start + minibatch_size]
        optimiser.zero_grad()
        scores = learner(pictures[part])
        loss = F.cross_entropy(scores, classes[part])
        loss.backward()
        optimiser.step()
        all_loss += loss.item() * len(part)
    return all_loss / len(pictures)

def run_model(learner, pictures, minibatch_size=500):
    learner.eval()
    with torch.no_grad():
        scores = [learner(block) for block in pictures.split(minibatch_size)]
    return torch.cat(scores)

def measure(learner, pictures, classes):
    """Measure. Takes learner, pictures, classes."""
    scores = run_model(learner, pictures)
    loss = F.cross_entropy(scores, classes).item()
    correct = (scores.argmax(dim=1) == classes).sum().item()
    return loss, correct / len(classes)

def entry(epochs=6, minibatch_size=24, eta=0.025, test_fraction=0.2, random_seed=1):
    torch.manual_seed(random_seed)
    target_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pictures, rest = read_pictures("data/train.npz")
    service_pictures, _ = read_pictures("data/score.npz")
    records, classes = rest["row"], rest["label"]
    train_index, test_index = rand_divide(
        len(pictures),
        test_fraction,
        random_seed,
    )
    num_labels = int(classes[train_index].max()) + 1
    train_pictures = pictures[train_index].to(target_device)
    train_labels = classes[train_index].to(target_device)
    test_pictures, test_labels = pictures[test_index].to(target_device), classes[test_index].to(target_device)
    service_pictures = service_pictures.to(target_device)
    train_pictures, test_pictures, service_pictures = (
        (part - 128.0) / 64.0 for part in (train_pictures, test_pictures, service_pictures)
    )
    learner = SymbolNetwork(num_labels).to(target_device)
    optimiser = torch.optim.SGD(
        learner.parameters(),
        lr=eta,
        momentum=0.9,
        weight_decay=5e-4,
    )
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=epochs)
    history = []
    for epoch in range(1, epochs + 1):
        train_loss = run_epoch(
            learner,
            train_pictures,
            train_labels,
            optimiser,
            minibatch_size,
        )
        sched.step()
        test_loss, accuracy = measure(learner, test_pictures, test_labels)
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "test_loss": test_loss, "accuracy": accuracy}
        )
        print(
            f"EP {epoch:03d} / TRAIN {train_loss:.4f} / test {test_loss:.4f} / ACCURACY {accuracy:.3f}",
        )
    final = {k: value for k, value in history[-1].items() if k != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=records[test_index].numpy(),
        output=run_model(learner, test_pictures).cpu().numpy(),
        score=run_model(learner, service_pictures).cpu().numpy(),
    )

if __name__ == "__main__":
    entry()
