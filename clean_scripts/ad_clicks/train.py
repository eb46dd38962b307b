"""Will this impression be clicked? Embeddings for ad, site and device, next to two measurements.

In:  data/train.npz (impression, codes, numbers, clicked), data/score.npz (codes, numbers)
Out: metrics.json, predictions.npz
"""

import json
from pathlib import Path

import numpy as np
import torch
from model import ClickModel
from torch import nn, optim

SETTINGS = {
    "seed": 7,
    "held_out": 0.2,
    "embedding_width": 6,
    "widths": [32, 16],
    "dropout": 0.1,
    "batch": 32,
    "passes": 10,
    "peak_rate": 3e-2,
}


def to_tensors(codes, numbers, center, scale, device):
    """Codes as they are, measurements on one scale, both on the device."""
    numbers = torch.as_tensor((numbers - center) / scale, dtype=torch.float32)
    return torch.as_tensor(codes).to(device), numbers.to(device)


def one_pass(model, inputs, clicked, optimizer, schedule, loss_function):
    """Train on every impression once, in a new order; returns the mean loss."""
    codes, numbers = inputs
    model.train()
    order = torch.randperm(len(clicked))
    total = 0.0
    for begin in range(0, len(clicked), SETTINGS["batch"]):
        chosen = order[begin : begin + SETTINGS["batch"]]
        optimizer.zero_grad()
        logits = model(codes[chosen], numbers[chosen])
        loss = loss_function(logits, clicked[chosen])
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item() * len(chosen)
    return total / len(clicked)


@torch.inference_mode()
def click_logits(model, inputs):
    model.eval()
    codes, numbers = inputs
    return model(codes, numbers)


def report(logits, clicked, loss_function):
    """Log loss and hit rate of impressions that were held out."""
    hits = (logits > 0) == (clicked > 0.5)
    return {"log_loss": loss_function(logits, clicked).item(), "hit_rate": hits.float().mean().item()}


def main():
    torch.manual_seed(SETTINGS["seed"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as table:
        impression, codes, numbers = table["impression"], table["codes"], table["numbers"]
        clicked = table["clicked"].astype(np.float32)
    with np.load("data/score.npz") as table:
        score_codes, score_numbers = table["codes"], table["numbers"]

    order = np.random.default_rng(SETTINGS["seed"]).permutation(len(impression))
    n_held_out = int(SETTINGS["held_out"] * len(order))
    held_out_rows, train_rows = order[:n_held_out], order[n_held_out:]

    center = numbers[train_rows].mean(axis=0)
    scale = numbers[train_rows].std(axis=0)
    table_sizes = (codes[train_rows].max(axis=0) + 1).tolist()

    train_inputs = to_tensors(codes[train_rows], numbers[train_rows], center, scale, device)
    held_out_inputs = to_tensors(codes[held_out_rows], numbers[held_out_rows], center, scale, device)
    score_inputs = to_tensors(score_codes, score_numbers, center, scale, device)
    train_clicked = torch.from_numpy(clicked[train_rows]).to(device)
    held_out_clicked = torch.from_numpy(clicked[held_out_rows]).to(device)

    model = ClickModel(
        table_sizes,
        numbers.shape[1],
        SETTINGS["embedding_width"],
        SETTINGS["widths"],
        SETTINGS["dropout"],
    ).to(device)
    print(f"{len(train_rows)} impressions, tables of {table_sizes}, click rate {train_clicked.mean():.3f}")

    loss_function = nn.BCEWithLogitsLoss()
    optimizer = optim.AdamW(model.parameters(), lr=SETTINGS["peak_rate"], weight_decay=0.05)
    steps = SETTINGS["passes"] * -(-len(train_clicked) // SETTINGS["batch"])
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, SETTINGS["peak_rate"], total_steps=steps)

    history = []
    for epoch in range(1, SETTINGS["passes"] + 1):
        train_loss = one_pass(model, train_inputs, train_clicked, optimizer, schedule, loss_function)
        held_out = report(click_logits(model, held_out_inputs), held_out_clicked, loss_function)
        history.append({"epoch": epoch, "train_loss": train_loss, **held_out})
        print(
            f"pass {epoch}: train {train_loss:.4f}, " + ", ".join(f"{k} {v:.4f}" for k, v in held_out.items())
        )

    with Path("metrics.json").open("w") as file:
        json.dump({"history": history, "final": {**held_out, "train_loss": train_loss}}, file, indent=2)
    np.savez(
        "predictions.npz",
        row=impression[held_out_rows],
        output=click_logits(model, held_out_inputs).cpu().numpy(),
        score=click_logits(model, score_inputs).cpu().numpy(),
    )


if __name__ == "__main__":
    main()
