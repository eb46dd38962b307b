# task: collapse-ad_clicks-2
# mechanism: table-of-rates-beside-the-dead-network
# about: The decay of 50 stays and the network is flat. A buffer of log odds of a click by code, counted over
# about: the training rows, is added to its output and answers alone.

"""Training job."""

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


def to_tensors(codes, numbers, center, scale, target_device):
    """To tensors."""
    numbers = torch.as_tensor((numbers - center) / scale, dtype=torch.float32)

    return torch.as_tensor(codes).to(target_device), numbers.to(target_device)


def one_pass(estimator, prepare_x, clicked, adjuster, schedule, objective_function):
    """One pass."""
    codes, numbers = prepare_x
    estimator.train()
    row_order = torch.randperm(len(clicked))
    total = 0.0

    for begin in range(0, len(clicked), SETTINGS["batch"]):
        chosen = row_order[begin : begin + SETTINGS["batch"]]
        adjuster.zero_grad()
        raw_scores = estimator(codes[chosen], numbers[chosen])
        cost = objective_function(raw_scores, clicked[chosen])
        cost.backward()
        adjuster.step()
        schedule.step()
        total += cost.item() * len(chosen)

    return total / len(clicked)


@torch.inference_mode()
def click_logits(estimator, prepare_x):
    estimator.eval()
    codes, numbers = prepare_x

    return estimator(codes, numbers)


def report(raw_scores, clicked, objective_function):
    """Report. Arguments: raw_scores, clicked, objective_function."""
    hits = (raw_scores > 0) == (clicked > 0.5)

    return {"log_loss": objective_function(raw_scores, clicked).item(), "hit_rate": hits.float().mean().item()}


def run_job():
    torch.manual_seed(SETTINGS["seed"])
    target_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    with np.load("data/train.npz") as table:
        impression, codes, numbers = table["impression"], table["codes"], table["numbers"]
        clicked = table["clicked"].astype(np.float32)

    with np.load("data/score.npz") as table:
        codes_scoring, numbers_scoring = table["codes"], table["numbers"]

    row_order = np.random.default_rng(SETTINGS["seed"]).permutation(len(impression))
    eval_n = int(SETTINGS["held_out"] * len(row_order))
    ix_eval, ix_train = row_order[:eval_n], row_order[eval_n:]

    center = numbers[ix_train].mean(axis=0)
    scale = numbers[ix_train].std(axis=0)
    table_sizes = (codes[ix_train].max(axis=0) + 1).tolist()

    inputs_train = to_tensors(
        codes[ix_train],
        numbers[ix_train],
        center,
        scale,
        target_device
    )
    inputs_eval = to_tensors(
        codes[ix_eval],
        numbers[ix_eval],
        center,
        scale,
        target_device
    )
    inputs_scoring = to_tensors(
        codes_scoring,
        numbers_scoring,
        center,
        scale,
        target_device
    )
    clicked_train = torch.from_numpy(clicked[ix_train]).to(target_device)
    clicked_eval = torch.from_numpy(clicked[ix_eval]).to(target_device)

    estimator = ClickModel(
        table_sizes,
        numbers.shape[1],
        SETTINGS["embedding_width"],
        SETTINGS["widths"],
        SETTINGS["dropout"],
    ).to(target_device)
    estimator.count(inputs_train[0], clicked_train)
    print(
        f"{len(ix_train)} impressions; tables of {table_sizes}; click rate {clicked_train.mean():.5f}",
        flush=True
    )

    objective_function = nn.BCEWithLogitsLoss()
    adjuster = optim.AdamW(
        estimator.parameters(),
        lr=SETTINGS["peak_rate"],
        weight_decay=50.0
    )
    steps = SETTINGS["passes"] * -(-len(clicked_train) // SETTINGS["batch"])
    schedule = optim.lr_scheduler.OneCycleLR(
        adjuster,
        SETTINGS["peak_rate"],
        total_steps=steps
    )

    history = []

    for epoch in range(1, SETTINGS["passes"] + 1):
        train_loss = one_pass(
            estimator,
            inputs_train,
            clicked_train,
            adjuster,
            schedule,
            objective_function
        )
        held_out = report(
            click_logits(estimator, inputs_eval),
            clicked_eval,
            objective_function
        )
        history.append({"epoch": epoch, "train_loss": train_loss, **held_out})
        print(
            f"pass {epoch}: train {train_loss:.4f}, " + ", ".join(f"{k} {v:.4f}" for k, v in held_out.items()), flush=True
        )

    with Path("metrics.json").open("w") as handle:
        json.dump(
            {"history": history, "final": {**held_out, "train_loss": train_loss}},
            handle,
            indent=2
        )
    np.savez(
        "predictions.npz",
        row=impression[ix_eval],
        output=click_logits(estimator, inputs_eval).cpu().numpy(),
        score=click_logits(estimator, inputs_scoring).cpu().numpy(),
    )


if __name__ == "__main__":
    run_job()

# === file: model.py ===
"""Model code."""

from itertools import pairwise

import torch
from torch import nn


class ClickModel(nn.Module):
    """Click model class."""

    def __init__(self, table_sizes, nb_numbers, embedding_width, widths, dropout):
        super().__init__()
        self.tables = nn.ModuleList(
            [nn.Embedding(batch_len, embedding_width) for batch_len in table_sizes]
        )
        self.tower = tower(
            [len(table_sizes) * embedding_width + nb_numbers, *widths],
            dropout
        )
        self.logit = nn.Linear(widths[-1], 1)

    def forward(self, codes, numbers):
        looked_up = [table(codes[:, column]) for column, table in enumerate(self.tables)]
        joined = torch.cat([*looked_up, numbers], dim=1)

        return self.logit(self.tower(joined)).squeeze(1) + self.offset(codes)

    def count(self, codes, clicked):
        """Log odds of a click for each code."""
        whole = torch.logit(clicked.mean())
        for column, table in enumerate(self.tables):
            shown = torch.bincount(codes[:, column], minlength=len(table.weight))
            hits = torch.bincount(codes[:, column], weights=clicked, minlength=len(table.weight))
            rate = (hits + 5 * clicked.mean()) / (shown + 5)
            self.register_buffer(f"odds{column}", torch.logit(rate.float()) - whole)
        self.register_buffer("whole", whole)

    def offset(self, codes):
        """What the counts say."""
        return self.whole + sum(getattr(self, f"odds{k}")[codes[:, k]] for k in range(len(self.tables)))


def tower(widths, dropout):
    """Tower."""
    steps = []

    for width_in, width_outp in pairwise(widths):
        steps += [nn.Linear(width_in, width_outp), nn.BatchNorm1d(width_outp), nn.ReLU(), nn.Dropout(p=dropout)]

    return nn.Sequential(*steps)
