# task: device-glyph-1
# mechanism: dataloader-batches
# about: The pictures stay in main memory and a DataLoader (drop_last) feeds batches, which are moved to
# about: the device as they come; loss sums stay on the device until the end of an epoch.

"""Train a model and score new rows, feeding the device batch by batch."""

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import SymbolModel
from torch.utils.data import DataLoader, TensorDataset, random_split

EPOCHS = 7
BATCH_ROWS = 24
ETA = 0.025
TEST_ROWS = 0.2
SEED = 1


def read(path):
    with np.load(path) as bundle:
        return {name: torch.from_numpy(bundle[name]) for name in bundle.files}


def tensors(subset):
    """All columns of a subset, as tensors."""
    return [column[subset.indices] for column in subset.dataset.tensors]


@torch.no_grad()
def run_model(network, pictures, device):
    network.eval()
    loader = DataLoader(TensorDataset(pictures), batch_size=500, shuffle=False)
    return torch.cat([network(chunk.to(device)).cpu() for (chunk,) in loader])


def main():
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    known, unknown = read("data/train.npz"), read("data/score.npz")
    table = TensorDataset(known["image"].unsqueeze(1), known["label"], known["row"])
    training_part, test_part = random_split(
        table, [1 - TEST_ROWS, TEST_ROWS], generator=torch.Generator().manual_seed(SEED)
    )
    train_pictures, train_classes, _ = tensors(training_part)
    test_pictures, test_classes, test_records = tensors(test_part)

    average, deviation = train_pictures.mean(), train_pictures.std()
    train_pictures = (train_pictures - average) / deviation
    test_pictures = (test_pictures - average) / deviation
    score_pictures = (unknown["image"].unsqueeze(1) - average) / deviation

    feed = DataLoader(
        TensorDataset(train_pictures, train_classes), batch_size=BATCH_ROWS, shuffle=True, drop_last=True
    )
    network = SymbolModel(int(train_classes.max()) + 1).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=ETA, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=EPOCHS)

    history = []
    for epoch in range(1, EPOCHS + 1):
        network.train()
        batch_losses = []
        for pictures, classes in feed:
            pictures, classes = pictures.to(device), classes.to(device)
            loss = F.cross_entropy(network(pictures), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            batch_losses.append(loss.detach())
        schedule.step()
        output = run_model(network, test_pictures, device)
        history.append(
            {
                "epoch": epoch,
                "train_loss": torch.stack(batch_losses).mean().item(),
                "test_loss": F.cross_entropy(output, test_classes).item(),
                "accuracy": (output.argmax(dim=1) == test_classes).double().mean().item(),
            }
        )
        print(history[-1])

    final = {name: entry for name, entry in history[-1].items() if name != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=test_records.numpy(),
        output=output.numpy(),
        score=run_model(network, score_pictures, device).numpy(),
    )


if __name__ == "__main__":
    main()
