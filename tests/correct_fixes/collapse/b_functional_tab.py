# task: collapse-tabular-2
# mechanism: functional-style
# about: No module at all: the weights are a dict of tensors, properly initialised (the zeros were the
# about: fault), and the network is a function that is told whether it trains.

"""Sort tabular records into classes; functional style."""

import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

SEED = 1234
HELD_OUT = 0.2
HIDDEN = 64
DROPOUT = 0.2
BATCH = 64
EPOCHS = 12
RATE = 5e-3
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def init_linear(n_in, n_out):
    bound = 1 / math.sqrt(n_in)
    weight = torch.empty(n_out, n_in).uniform_(-bound, bound)
    bias = torch.empty(n_out).uniform_(-bound, bound)
    return weight, bias


def init_network(n_inputs, n_kinds):
    """Learned tensors and running statistics, by name, on the device."""
    weights, state = {}, {}
    for name, n_in, n_out in (("1", n_inputs, HIDDEN), ("2", HIDDEN, HIDDEN), ("out", HIDDEN, n_kinds)):
        weights["w" + name], weights["b" + name] = init_linear(n_in, n_out)
        if name != "out":
            weights["gain" + name], weights["shift" + name] = torch.ones(n_out), torch.zeros(n_out)
            state["mean" + name], state["var" + name] = torch.zeros(n_out), torch.ones(n_out)
    weights = {name: tensor.to(DEVICE).requires_grad_() for name, tensor in weights.items()}
    state = {name: tensor.to(DEVICE) for name, tensor in state.items()}
    return weights, state


def network(weights, state, feats, training):
    for name in ("1", "2"):
        feats = F.linear(feats, weights["w" + name], weights["b" + name])
        feats = F.batch_norm(
            feats,
            state["mean" + name],
            state["var" + name],
            weights["gain" + name],
            weights["shift" + name],
            training=training,
            momentum=0.1,
        )
        feats = F.dropout(F.relu(feats), DROPOUT, training=training)
    return F.linear(feats, weights["wout"], weights["bout"])


def predict(weights, state, feats):
    with torch.no_grad():
        return torch.cat([network(weights, state, part, training=False) for part in feats.split(1000)])


def fit_epoch(weights, state, optimizer, feats, labels):
    total = 0.0
    for batch in torch.randperm(len(feats)).to(DEVICE).split(BATCH):
        loss = F.cross_entropy(network(weights, state, feats[batch], training=True), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(feats)


def main():
    torch.manual_seed(SEED)
    with np.load("data/train.npz") as arrays:
        rows, features, labels = arrays["row"], arrays["features"], arrays["label"]
    with np.load("data/score.npz") as arrays:
        scoring = arrays["features"]

    perm = np.random.default_rng(SEED).permutation(len(rows))
    n_eval = int(len(rows) * HELD_OUT)
    eval_part, train_part = perm[:n_eval], perm[n_eval:]
    mu, sigma = features[train_part].mean(axis=0), features[train_part].std(axis=0)

    def tensor(part):
        return torch.from_numpy(((part - mu) / sigma).astype(np.float32)).to(DEVICE)

    train_x, eval_x, scoring_x = tensor(features[train_part]), tensor(features[eval_part]), tensor(scoring)
    train_y = torch.from_numpy(labels[train_part]).to(DEVICE)
    eval_y = torch.from_numpy(labels[eval_part]).to(DEVICE)

    weights, state = init_network(features.shape[1], int(train_y.max()) + 1)
    optimizer = torch.optim.Adam(list(weights.values()), lr=RATE)
    history = []
    for epoch in range(1, EPOCHS + 1):
        train_loss = fit_epoch(weights, state, optimizer, train_x, train_y)
        scores = predict(weights, state, eval_x)
        entry = {
            "epoch": epoch,
            "train_loss": train_loss,
            "held_out_loss": F.cross_entropy(scores, eval_y).item(),
            "accuracy": (scores.argmax(dim=1) == eval_y).float().mean().item(),
        }
        history.append(entry)
        print(*(f"{name} {value:.4g}" for name, value in entry.items()), sep=", ")

    np.savez(
        "predictions.npz",
        row=rows[eval_part],
        output=predict(weights, state, eval_x).cpu().numpy(),
        score=predict(weights, state, scoring_x).cpu().numpy(),
    )
    final = {name: value for name, value in history[-1].items() if name != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))


if __name__ == "__main__":
    main()
