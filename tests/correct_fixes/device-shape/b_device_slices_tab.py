# task: device-shape-tabular-1
# mechanism: device-slices
# about: Rewritten without a DataLoader: everything is put on the device once, batches are slices of a
# about: shuffled index there. The norm layers take their width from the layer before them. drop_last: a
# about: rest of under half a batch is skipped.

"""Train a small MLP to sort tabular records into classes, with all data resident on the device."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

options = dict(seed=1234, heldOut=0.2, hidden=64, dropout=0.2, batch=64, epochs=12, rate=5e-3)


def hiddenLayer(numInputs, numOutputs, dropout):
    linear = nn.Linear(numInputs, numOutputs)
    return nn.Sequential(linear, nn.BatchNorm1d(linear.out_features), nn.ReLU(), nn.Dropout(dropout))


class TableNet(nn.Module):
    def __init__(self, numFeatures, numClasses, hidden, dropout):
        super().__init__()
        self.layers = nn.ModuleList(
            [hiddenLayer(numFeatures, hidden, dropout), hiddenLayer(hidden, hidden, dropout)]
        )
        self.readout = nn.Linear(hidden, numClasses)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.readout(x)


def batches(numRows, size, device):
    """Shuffled index slices; a last one of less than half a batch is left for the next epoch's shuffle."""
    order = torch.randperm(numRows).to(device)
    for begin in range(0, numRows, size):
        chosen = order[begin : begin + size]
        if len(chosen) >= size // 2:
            yield chosen


def logitsOf(network, x):
    network.eval()
    with torch.no_grad():
        return network(x)


def main():
    torch.manual_seed(options["seed"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, score = (dict(np.load(f"data/{name}.npz")) for name in ("train", "score"))

    perm = np.random.default_rng(options["seed"]).permutation(len(train["row"]))
    fit, test = perm[int(options["heldOut"] * len(perm)) :], perm[: int(options["heldOut"] * len(perm))]
    average, deviation = train["features"][fit].mean(axis=0), train["features"][fit].std(axis=0)

    def onDevice(features):
        return torch.from_numpy((features - average) / deviation).float().to(device)

    fitX, testX, scoreX = map(onDevice, (train["features"][fit], train["features"][test], score["features"]))
    fitY, testY = (torch.from_numpy(train["label"][part]).to(device) for part in (fit, test))
    numClasses = int(fitY.max()) + 1

    network = TableNet(fitX.shape[1], numClasses, options["hidden"], options["dropout"]).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=options["rate"])
    history = []
    for epoch in range(1, options["epochs"] + 1):
        network.train()
        lossSum = torch.zeros((), device=device)
        numSeen = 0
        for chosen in batches(len(fitX), options["batch"], device):
            loss = criterion(network(fitX[chosen]), fitY[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            lossSum += loss.detach() * len(chosen)
            numSeen += len(chosen)
        logits = logitsOf(network, testX)
        history.append(
            {
                "epoch": epoch,
                "train_loss": lossSum.item() / numSeen,
                "held_out_loss": criterion(logits, testY).item(),
                "accuracy": (logits.argmax(dim=1) == testY).float().mean().item(),
            }
        )
        print(json.dumps(history[-1]))

    np.savez(
        "predictions.npz",
        row=train["row"][test],
        output=logitsOf(network, testX).cpu().numpy(),
        score=logitsOf(network, scoreX).cpu().numpy(),
    )
    final = dict(history[-1])
    del final["epoch"]
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))


if __name__ == "__main__":
    main()
