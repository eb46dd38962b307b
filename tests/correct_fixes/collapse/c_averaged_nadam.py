# task: collapse-ad_clicks-2
# mechanism: averaged-model-with-fresh-statistics
# about: NAdam with a little decoupled decay at a constant rate; what predicts is the average of the weights of
# about: the second half of training, whose batch statistics are taken anew from the training rows.

"""Training job."""

import json
from pathlib import Path

import numpy as np
import torch
from model import ClickModel
from torch import nn, optim
from torch.optim.swa_utils import AveragedModel

SEED = 7
HELD_OUT = 0.2
PASSES = 10
BATCH = 32
RATE = 1e-2
target_device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def batches(*tensors):
    for chosen in torch.randperm(len(tensors[0])).split(BATCH):
        yield [tensor[chosen.to(tensor.device)] for tensor in tensors]


def train_pass(estimator, optimizer, averaged, *tensors):
    estimator.train()
    total = 0.0
    for codes, numbers, clicked in batches(*tensors):
        optimizer.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(estimator(codes, numbers), clicked)
        loss.backward()
        optimizer.step()
        if averaged is not None:
            averaged.update_parameters(estimator)
        total += loss.item() * len(clicked)
    return total / len(tensors[0])


@torch.no_grad()
def refresh_statistics(estimator, codes, numbers):
    """Running means and variances of the averaged weights, from one pass over the training rows."""
    layers = [layer for layer in estimator.modules() if isinstance(layer, nn.BatchNorm1d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None
        layer.train()
    for some_codes, some_numbers in zip(codes.split(120), numbers.split(120), strict=True):
        estimator(some_codes, some_numbers)
    estimator.eval()


@torch.no_grad()
def logits_of(estimator, codes, numbers):
    estimator.eval()
    return estimator(codes, numbers)


def run_job():
    torch.manual_seed(SEED)
    with np.load("data/train.npz") as table:
        impression, codes, numbers, clicked = (
            table[key] for key in ("impression", "codes", "numbers", "clicked")
        )
    with np.load("data/score.npz") as table:
        codes_scoring, numbers_scoring = table["codes"], table["numbers"]

    row_order = np.random.default_rng(SEED).permutation(len(impression))
    ix_eval, ix_train = np.split(row_order, [int(HELD_OUT * len(row_order))])
    center, scale = numbers[ix_train].mean(axis=0), numbers[ix_train].std(axis=0)

    def move(codes, numbers):
        numbers = ((numbers - center) / scale).astype(np.float32)
        return torch.from_numpy(codes).to(target_device), torch.from_numpy(numbers).to(target_device)

    train = move(codes[ix_train], numbers[ix_train])
    held_out = move(codes[ix_eval], numbers[ix_eval])
    scoring = move(codes_scoring, numbers_scoring)
    clicked = torch.from_numpy(clicked.astype(np.float32)).to(target_device)
    clicked_train, clicked_eval = clicked[ix_train], clicked[ix_eval]

    table_sizes = (codes[ix_train].max(axis=0) + 1).tolist()
    estimator = ClickModel(table_sizes, numbers.shape[1], 6, [32, 16], 0.1).to(target_device)
    optimizer = optim.NAdam(
        estimator.parameters(), lr=RATE, weight_decay=1e-3, decoupled_weight_decay=True
    )
    averaged = AveragedModel(estimator)

    history = []
    for epoch in range(1, PASSES + 1):
        collecting = averaged if epoch > PASSES // 2 else None
        train_loss = train_pass(estimator, optimizer, collecting, *train, clicked_train)
        shown = estimator
        if collecting is not None:
            refresh_statistics(averaged, *train)
            shown = averaged
        raw = logits_of(shown, *held_out)
        log_loss = nn.functional.binary_cross_entropy_with_logits(raw, clicked_eval).item()
        hit_rate = ((raw > 0) == (clicked_eval > 0.5)).float().mean().item()
        history.append(
            {"epoch": epoch, "train_loss": train_loss, "log_loss": log_loss, "hit_rate": hit_rate}
        )
        print(f"pass {epoch}: train {train_loss:.4f}, log loss {log_loss:.4f}, hits {hit_rate:.4f}")

    final = {key: history[-1][key] for key in ("log_loss", "hit_rate", "train_loss")}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=impression[ix_eval],
        output=raw.cpu().numpy(),
        score=logits_of(averaged, *scoring).cpu().numpy(),
    )


if __name__ == "__main__":
    run_job()
