# task: device-glyph-1
# mechanism: batches-moved-in-the-loops
# about: Pictures and classes stay on the CPU; the loops move each batch, and logits come back to the
# about: CPU.

"""Train a model and score new rows."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import SymbolModel


def read_pictures(path):
    """Read pictures. Takes path."""
    with np.load(path) as bundle:
        arrays = {name: torch.from_numpy(bundle[name]) for name in bundle.files}
    pictures = arrays.pop("image").unsqueeze(1)
    return pictures, arrays


def shuffled_partition(n, test_ratio, seed):
    random_source = torch.Generator().manual_seed(seed)
    permutation = torch.randperm(n, generator=random_source)
    n_test = round(n * test_ratio)
    return permutation[n_test:], permutation[:n_test]


def train(network, pictures, answers, optim_, batch_rows, run_device):
    """Train. Takes network, pictures, answers, optim_, batch_rows, run_device."""
    network.train()
    epoch_loss = 0.0
    permutation = torch.randperm(len(pictures))
    for lo in range(0, len(pictures), batch_rows):
        minibatch = permutation[lo : lo + batch_rows]
        optim_.zero_grad()
        batch, wanted = pictures[minibatch].to(run_device), answers[minibatch].to(run_device)
        preds = network(batch)
        loss_value = F.cross_entropy(preds, wanted)
        loss_value.backward()
        optim_.step()
        epoch_loss += loss_value.item() * len(minibatch)
    return epoch_loss / len(pictures)


def run_model(network, pictures, run_device, batch_rows=500):
    network.eval()
    with torch.no_grad():
        preds = [network(chunk.to(run_device)).cpu() for chunk in pictures.split(batch_rows)]
    return torch.cat(preds)


def evaluate(network, pictures, answers, run_device):
    """Evaluate. Takes network, pictures, answers, run_device."""
    preds = run_model(network, pictures, run_device)
    loss_value = F.cross_entropy(preds, answers).item()
    n_correct = (preds.argmax(dim=1) == answers).sum().item()
    return loss_value, n_correct / len(answers)


def run(epochs=6, batch_rows=24, eta=0.025, test_ratio=0.2, seed=1):
    torch.manual_seed(seed)
    run_device = torch.device(
        "cuda" if torch.cuda.is_available() else "cpu"
    )
    pictures, arrays = read_pictures("data/train.npz")
    score_pictures, _ = read_pictures("data/score.npz")
    records, answers = arrays["row"], arrays["label"]
    train_index, test_index = shuffled_partition(
        len(pictures),
        test_ratio,
        seed
    )
    n_labels = int(answers[train_index].max()) + 1
    train_pictures, train_classes = pictures[train_index], answers[train_index]
    test_pictures, test_classes = pictures[test_index], answers[test_index]
    average = train_pictures.mean(dim=(0, 2, 3), keepdim=True)
    deviation = train_pictures.std(dim=(0, 2, 3), keepdim=True)
    train_pictures = (train_pictures - average) / deviation
    test_pictures = (test_pictures - average) / deviation
    score_pictures = (score_pictures - average) / deviation
    network = SymbolModel(n_labels).to(run_device)
    optim_ = torch.optim.SGD(
        network.parameters(),
        lr=eta,
        momentum=0.9,
        weight_decay=5e-4
    )
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(
        optim_,
        T_max=epochs
    )
    history = []
    for epoch in range(1, epochs + 1):
        train_loss = train(
            network,
            train_pictures,
            train_classes,
            optim_,
            batch_rows,
            run_device
        )
        sched.step()
        test_loss, accuracy = evaluate(
            network,
            test_pictures,
            test_classes,
            run_device
        )
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "test_loss": test_loss, "accuracy": accuracy}
        )
        print(
            f"epoch {epoch:2d}  train {train_loss:.4f}  test {test_loss:.4f}  accuracy {accuracy:.3f}"
        )
    final = {field_name: entry for field_name, entry in history[-1].items() if field_name != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=records[test_index].numpy(),
        output=run_model(network, test_pictures, run_device).numpy(),
        score=run_model(network, score_pictures, run_device).numpy(),
    )


if __name__ == "__main__":
    run()
