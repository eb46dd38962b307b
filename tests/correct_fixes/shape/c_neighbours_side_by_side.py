# task: shape-receipt_tags-1
# mechanism: neighbours-concatenated
# about: A word is judged from itself and two words on either side, put side by side and passed to a small network
# about: of linear layers, which are sized from the arrays; own data set, AdamW, class weights from training rows.

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED, HELD_OUT, EPOCHS, BATCH, EMBEDDING, HIDDEN, REACH = 21, 0.35, 12, 40, 12, 48, 2
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class WindowTagger(nn.Module):
    def __init__(self, n_words, n_measures, n_tags):
        super().__init__()
        self.embed = nn.Embedding(n_words, EMBEDDING, padding_idx=0)
        self.inner = nn.Linear((2 * REACH + 1) * (EMBEDDING + n_measures), HIDDEN)
        self.norm = nn.LayerNorm(HIDDEN)
        self.drop = nn.Dropout(0.25)
        self.again = nn.Linear(HIDDEN, HIDDEN)
        self.tag = nn.Linear(HIDDEN, n_tags)

    def forward(self, words, printed):
        there = (words != 0).unsqueeze(2)
        seen = torch.cat([self.embed(words), printed], dim=2) * there
        padded = F.pad(seen, (0, 0, REACH, REACH))
        windows = padded.unfold(1, 2 * REACH + 1, 1).flatten(2)
        hidden = self.drop(F.relu(self.norm(self.inner(windows))))
        return self.tag(self.drop(F.relu(self.again(hidden))))


def load(path):
    with np.load(path) as raw:
        return {name: raw[name] for name in raw.files}


def main():
    torch.manual_seed(SEED)
    known, asked = load("data/train.npz"), load("data/score.npz")
    n = len(known["line"])
    order = np.random.default_rng(SEED).permutation(n)
    n_held = int(HELD_OUT * n)
    dev, test, train = np.split(order, [2 * n_held // 5, n_held])
    center = known["printed"][train].mean(axis=(0, 1))
    spread = known["printed"][train].std(axis=(0, 1))

    def inputs(arrays, rows=slice(None)):
        printed = torch.from_numpy((arrays["printed"][rows] - center) / spread)
        return torch.from_numpy(arrays["words"][rows]), printed

    tags = torch.from_numpy(known["tags"])
    counts = torch.bincount(tags[train].flatten()).float()
    weight = (counts[1:].mean() / counts).to(DEVICE)

    def cost_of(scores, truth):
        return F.cross_entropy(scores.transpose(1, 2), truth, weight=weight, ignore_index=0)

    train_set = TensorDataset(*inputs(known, train), tags[train])
    loader = DataLoader(train_set, batch_size=BATCH, shuffle=True)
    words, printed = train_set.tensors[:2]
    model = WindowTagger(int(words.max()) + 1, printed.size(-1), len(counts)).to(DEVICE)
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)

    @torch.no_grad()
    def scores_of(words, printed):
        model.eval()
        return model(words.to(DEVICE), printed.to(DEVICE))

    history, best = [], None
    for epoch in range(1, EPOCHS + 1):
        model.train()
        costs = []
        for some_words, some_printed, truth in loader:
            cost = cost_of(model(some_words.to(DEVICE), some_printed.to(DEVICE)), truth.to(DEVICE))
            optimizer.zero_grad()
            cost.backward()
            optimizer.step()
            costs.append(cost.item())
        schedule.step()
        val_loss = cost_of(scores_of(*inputs(known, dev)), tags[dev].to(DEVICE)).item()
        history.append({"epoch": epoch, "train_loss": float(np.mean(costs)), "val_loss": val_loss})
        print(f"epoch {epoch}: {history[-1]['train_loss']:.4f} | {val_loss:.4f}")
        if best is None or val_loss < best[0]:
            best = val_loss, {name: value.clone() for name, value in model.state_dict().items()}

    model.load_state_dict(best[1])
    scores = scores_of(*inputs(known, test)).cpu()
    found = scores.argmax(dim=2)
    recall = [(found[tags[test] == tag] == tag).float().mean().item() for tag in range(1, len(counts))]
    final = {
        "train_loss": history[-1]["train_loss"],
        "val_loss": best[0],
        "mean_recall": sum(recall) / len(recall),
    }
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}))
    np.savez(
        "predictions.npz",
        row=known["line"][test],
        output=scores.numpy(),
        score=scores_of(*inputs(asked)).cpu().numpy(),
    )


if __name__ == "__main__":
    main()
