# task: device-shape-tabular-1
# mechanism: dataset-on-the-device
# about: All tensors are made on the device, data sets included, so the loops move nothing; the norm gets
# about: the right width.

"""Train a small MLP to sort tabular records into classes."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass
class Hparams:
    seed: int = 1234
    held_out_fraction: float = 0.2
    hidden: int = 64
    dropout: float = 0.2
    batch_size: int = 64
    epochs: int = 12
    learning_rate: float = 5e-3


class TableNet(nn.Module):
    def __init__(self, numFeatures, numClasses, hidden, dropout):
        super().__init__()
        self.linear1 = nn.Linear(numFeatures, hidden)
        self.bnorm1 = nn.BatchNorm1d(hidden)
        self.linear2 = nn.Linear(hidden, hidden)
        self.bnorm2 = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(p=dropout)
        self.readout = nn.Linear(hidden, numClasses)

    def forward(self, x):
        x = self.dropout(
            torch.relu(self.bnorm1(self.linear1(x)))
        )
        x = self.dropout(
            torch.relu(self.bnorm2(self.linear2(x)))
        )
        return self.readout(x)


def divideIndex(numIndex, held_out_fraction, seed):
    perm = np.random.default_rng(seed).permutation(numIndex)
    testNum = int(numIndex * held_out_fraction)
    return perm[testNum:], perm[:testNum]


def scaleColumns(features, average, deviation, runDevice):
    return torch.tensor(
        (features - average) / deviation, dtype=torch.float32, device=runDevice
    )


def epochPass(network, feed, criterion, optim_):
    network.train()
    lossSum = 0.0
    for features, classes in feed:
        optim_.zero_grad()
        logits = network(features)
        objective = criterion(logits, classes)
        objective.backward()
        optim_.step()
        lossSum += objective.item() * len(classes)
    return lossSum / len(feed.dataset)


def predict(network, features, batch_size=1000):
    network.eval()
    with torch.no_grad():
        return torch.cat(
            [network(chunk) for chunk in features.split(batch_size)]
        )


def evaluate(network, features, classes, criterion):
    logits = predict(network, features)
    nCorrect = logits.argmax(dim=1) == classes
    return criterion(logits, classes).item(), nCorrect.float().mean().item()


def main():
    hparams = Hparams()
    torch.manual_seed(hparams.seed)
    runDevice = torch.device(
        "cuda" if torch.cuda.is_available() else "cpu"
    )
    print(f"running on {runDevice} - {asdict(hparams)}")
    with np.load("data/train.npz") as data:
        index, features, classes = data["row"], data["features"], data["label"]
    with np.load("data/score.npz") as data:
        featuresService = data["features"]
    indexTrain, indexTest = divideIndex(
        len(index),
        hparams.held_out_fraction,
        hparams.seed
    )
    numClasses = int(classes[indexTrain].max()) + 1
    print(
        f"{len(indexTrain)} training rows - {len(indexTest)} held out - {numClasses} categories"
    )
    average = features[indexTrain].mean(axis=0)
    deviation = features[indexTrain].std(axis=0)
    trainX = scaleColumns(
        features[indexTrain],
        average,
        deviation,
        runDevice
    )
    testX = scaleColumns(
        features[indexTest],
        average,
        deviation,
        runDevice
    )
    serviceX = scaleColumns(featuresService, average, deviation, runDevice)
    trainY = torch.from_numpy(classes[indexTrain]).to(runDevice)
    testY = torch.from_numpy(classes[indexTest]).to(runDevice)
    feedTrain = DataLoader(
        TensorDataset(trainX, trainY),
        batch_size=hparams.batch_size,
        shuffle=True
    )
    network = TableNet(features.shape[1], numClasses, hparams.hidden, hparams.dropout).to(runDevice)
    criterion = nn.CrossEntropyLoss()
    optim_ = torch.optim.Adam(
        network.parameters(),
        lr=hparams.learning_rate
    )
    history = []
    for epoch in range(1, hparams.epochs + 1):
        train_loss = epochPass(
            network,
            feedTrain,
            criterion,
            optim_
        )
        held_out_loss, accuracy = evaluate(
            network,
            testX,
            testY,
            criterion
        )
        print(
            f"ep {epoch:d} - trn objective {train_loss:.4f} - "
            f"held-out objective {held_out_loss:.4f} - accuracy {accuracy:.3f}"
        )
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "held_out_loss": held_out_loss, "accuracy": accuracy}
        )
    np.savez(
        "predictions.npz",
        row=index[indexTest],
        output=predict(network, testX).cpu().numpy(),
        score=predict(network, serviceX).cpu().numpy(),
    )
    final = {name_: value for name_, value in history[-1].items() if name_ != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    print(f"done: held-out accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
