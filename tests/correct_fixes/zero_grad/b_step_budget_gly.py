# task: zero_grad-glyph-2
# mechanism: step-budget
# about: Rewritten by steps in place of epochs: an endless stream of shuffled batches, 200 steps, a
# about: progress line and a history entry every 40. Gradients are cleared, computed, used, in this order.

"""Train by steps: an endless stream of minibatches and a budget of updates."""

import itertools
import json
from pathlib import Path

import numpy as np
import torch
from model import SymbolNetwork
from torch.nn.functional import cross_entropy

STEPS = 200
REPORT_EVERY = 40
MINIBATCH = 24
ETA = 0.025


def endless_batches(size, rows, source):
    """Shuffled index batches of equal size, round and round; leftovers open the next round."""
    waiting = torch.empty(0, dtype=torch.long)
    while True:
        waiting = torch.cat([waiting, torch.randperm(rows, generator=source)])
        while len(waiting) >= size:
            yield waiting[:size]
            waiting = waiting[size:]


def run_model(learner, pictures):
    learner.eval()
    with torch.no_grad():
        scores = torch.cat([learner(block) for block in pictures.split(500)])
    learner.train()
    return scores


def entry(random_seed=1):
    torch.manual_seed(random_seed)
    source = torch.Generator().manual_seed(random_seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as bundle:
        records, classes = bundle["row"], torch.from_numpy(bundle["label"])
        pictures = torch.from_numpy(bundle["image"]).unsqueeze(1)
    with np.load("data/score.npz") as bundle:
        service = torch.from_numpy(bundle["image"]).unsqueeze(1)

    order = torch.randperm(len(pictures), generator=source)
    test, fit = order[: len(order) // 5], order[len(order) // 5 :]
    centre, spread = pictures[fit].mean(), pictures[fit].std()
    fit_x, test_x, service_x = (
        ((part - centre) / spread).to(device) for part in (pictures[fit], pictures[test], service)
    )
    fit_y, test_y = classes[fit].to(device), classes[test].to(device)

    learner = SymbolNetwork(int(fit_y.max()) + 1).to(device)
    optimiser = torch.optim.SGD(learner.parameters(), lr=ETA, momentum=0.9, weight_decay=5e-4)
    sched = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=STEPS)
    learner.train()

    history, recent = [], []
    stream = itertools.islice(endless_batches(MINIBATCH, len(fit_x), source), STEPS)
    for step, part in enumerate(stream, start=1):
        part = part.to(device)
        optimiser.zero_grad()
        loss = cross_entropy(learner(fit_x[part]), fit_y[part])
        loss.backward()
        optimiser.step()
        sched.step()
        recent.append(loss.item())
        if step % REPORT_EVERY == 0:
            scores = run_model(learner, test_x)
            history.append(
                {
                    "step": step,
                    "train_loss": sum(recent) / len(recent),
                    "test_loss": cross_entropy(scores, test_y).item(),
                    "accuracy": (scores.argmax(dim=1) == test_y).float().mean().item(),
                }
            )
            print(f"step {step:4d}: {history[-1]}")
            recent.clear()

    final = {k: value for k, value in history[-1].items() if k != "step"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=records[test.numpy()],
        output=run_model(learner, test_x).cpu().numpy(),
        score=run_model(learner, service_x).cpu().numpy(),
    )


if __name__ == "__main__":
    entry()
