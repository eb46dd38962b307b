# task: shape-ad_clicks-1
# mechanism: one-table-with-offsets
# about: All codes are looked up in one table with offsets, normalisation is by row, and a data loader feeds AdamW
# about: under a cosine schedule; every width is read from what the layer before gives.

"""Train a model and score new rows."""

import json
from pathlib import Path

import numpy as np
import torch
from model import ClickModel
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED = 8
HELD_OUT = 0.2
PASSES = 10
BATCH = 32


def read(path):
    with np.load(path) as table:
        return dict(table)


def main():
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    known, asked = read("data/train.npz"), read("data/score.npz")

    order = np.random.default_rng(SEED).permutation(len(known["impression"]))
    n_eval = int(HELD_OUT * len(order))
    eval_rows, train_rows = order[:n_eval], order[n_eval:]
    center = known["numbers"][train_rows].mean(axis=0)
    scale = known["numbers"][train_rows].std(axis=0)
    sizes = (known["codes"][train_rows].max(axis=0) + 1).tolist()

    def inputs(codes, numbers):
        return (
            torch.as_tensor(codes, dtype=torch.int64, device=device),
            torch.as_tensor((numbers - center) / scale, dtype=torch.float32, device=device),
        )

    learned = inputs(known["codes"][train_rows], known["numbers"][train_rows])
    held_out = inputs(known["codes"][eval_rows], known["numbers"][eval_rows])
    to_score = inputs(asked["codes"], asked["numbers"])
    clicked = torch.as_tensor(known["clicked"], dtype=torch.float32, device=device)
    clicked_train, clicked_eval = clicked[torch.as_tensor(train_rows)], clicked[torch.as_tensor(eval_rows)]

    model = ClickModel(sizes, known["numbers"].shape[1]).to(device)
    loader = DataLoader(TensorDataset(*learned, clicked_train), batch_size=BATCH, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=PASSES * len(loader))
    criterion = nn.BCEWithLogitsLoss()

    history = []
    for epoch in range(1, PASSES + 1):
        model.train()
        losses = []
        for codes, numbers, target in loader:
            loss = criterion(model(codes, numbers), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())

        model.eval()
        with torch.no_grad():
            logits = model(*held_out)
        history.append(
            {
                "epoch": epoch,
                "train_loss": float(np.mean(losses)),
                "log_loss": criterion(logits, clicked_eval).item(),
                "hit_rate": ((logits > 0) == (clicked_eval > 0.5)).float().mean().item(),
            }
        )
        print(history[-1])

    with torch.no_grad():
        scored = model(*to_score)
    final = {key: value for key, value in history[-1].items() if key != "epoch"}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=known["impression"][eval_rows],
        output=logits.cpu().numpy(),
        score=scored.cpu().numpy(),
    )


if __name__ == "__main__":
    main()

# === file: model.py ===
import torch
from torch import nn


class ClickModel(nn.Module):
    """Codes are looked up in one table in which each column has a section of its own."""

    def __init__(self, sizes, n_numbers, width=6, hidden=(32, 16), dropout=0.1):
        super().__init__()
        starts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
        self.register_buffer("starts", starts)
        self.table = nn.Embedding(sum(sizes), width)
        nn.init.normal_(self.table.weight, std=0.5)
        steps, wide = [], len(sizes) * width + n_numbers
        for n_out in hidden:
            layer = nn.Linear(wide, n_out)
            wide = layer.out_features
            steps += [layer, nn.LayerNorm(wide), nn.ReLU(), nn.Dropout(dropout)]
        self.tower = nn.Sequential(*steps, nn.Linear(wide, 1), nn.Flatten(0))

    def forward(self, codes, numbers):
        found = self.table(codes + self.starts).flatten(1)
        return self.tower(torch.hstack([found, numbers]))
