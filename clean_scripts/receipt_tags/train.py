"""Tag every word of a line of a receipt: what is an amount, a total, a count, and what is none of them.

A line has up to ten words, each a number with two measures of how it was printed; behind its end words,
measures and tags are 0. Reads data/train.npz (line, words, printed, tags) and data/score.npz (words,
printed), writes metrics.json and predictions.npz.
"""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn, optim

SEED = 21
HELD_OUT = 0.35  # of the lines; the first part of them chooses the weights, the rest is the test
EPOCHS = 8
BATCH_SIZE = 40
LEARNING_RATE = 0.12
MOMENTUM = 0.9
EMBEDDING = 12
CHANNELS = 32
DROPOUT = 0.1

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class WordTagger(nn.Module):
    """Two convolutions along a line: a word is judged with two neighbours on either side."""

    def __init__(self, num_words, num_measures, num_tags):
        super().__init__()
        self.embed = nn.Embedding(num_words, EMBEDDING, padding_idx=0)
        self.near = nn.Conv1d(EMBEDDING + num_measures, CHANNELS, kernel_size=3, padding=1)
        self.near_norm = nn.BatchNorm1d(CHANNELS)
        self.wide = nn.Conv1d(CHANNELS, CHANNELS, kernel_size=3, padding=1)
        self.wide_norm = nn.BatchNorm1d(CHANNELS)
        self.dropout = nn.Dropout(DROPOUT)
        self.tag = nn.Linear(CHANNELS, num_tags)

    def forward(self, words, printed):
        """(batch, places) and (batch, places, measures) to logits (batch, places, tags)."""
        x = torch.cat([self.embed(words), printed], dim=2)
        x = x.masked_fill((words == 0).unsqueeze(2), 0.0)
        x = torch.relu(self.near_norm(self.near(x.transpose(1, 2))))
        x = torch.relu(self.wide_norm(self.wide(x)))
        return self.tag(self.dropout(x).transpose(1, 2))


def batches(words, printed, tags):
    """Batches of nearly one size, in an order of their own."""
    for pick in torch.randperm(len(tags)).chunk(len(tags) // BATCH_SIZE):
        yield words[pick].to(DEVICE), printed[pick].to(DEVICE), tags[pick].to(DEVICE)


def tag_lines(model, words, printed):
    """Logits of every word of some lines."""
    model.eval()
    with torch.no_grad():
        return model(words.to(DEVICE), printed.to(DEVICE))


def held_out_loss(model, criterion, words, printed, tags):
    logits = tag_lines(model, words, printed)
    return criterion(logits.flatten(0, 1), tags.flatten()).item()


def recalls(logits, tags):
    """For each tag but that of padding, the share of its words that get it."""
    found = logits.argmax(dim=2)
    return [(found[tags == tag] == tag).float().mean().item() for tag in range(1, logits.size(2))]


def train_epoch(model, lines, criterion, optimizer):
    model.train()
    losses = []
    for words, printed, tags in batches(*lines):
        optimizer.zero_grad()
        logits = model(words, printed)
        loss = criterion(logits.flatten(0, 1), tags.flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def main():
    torch.manual_seed(SEED)
    with np.load("data/train.npz") as data:
        line, words, printed, tags = data["line"], data["words"], data["printed"], data["tags"]
    with np.load("data/score.npz") as data:
        score_words, score_printed = torch.from_numpy(data["words"]), data["printed"]

    order = np.random.default_rng(SEED).permutation(len(line))
    n_held_out = int(HELD_OUT * len(line))
    held_out, train_rows = order[:n_held_out], order[n_held_out:]
    val_rows, test_rows = np.split(held_out, [2 * n_held_out // 5])

    # Each measure has its own unit.
    center = printed[train_rows].mean(axis=(0, 1))
    spread = printed[train_rows].std(axis=(0, 1))
    train_printed = torch.from_numpy((printed[train_rows] - center) / spread)
    val_printed = torch.from_numpy((printed[val_rows] - center) / spread)
    test_printed = torch.from_numpy((printed[test_rows] - center) / spread)
    score_printed = torch.from_numpy((score_printed - center) / spread)
    train_words = torch.from_numpy(words[train_rows])
    val_words = torch.from_numpy(words[val_rows])
    test_words = torch.from_numpy(words[test_rows])
    train_tags = torch.from_numpy(tags[train_rows])
    val_tags = torch.from_numpy(tags[val_rows]).to(DEVICE)
    test_tags = torch.from_numpy(tags[test_rows]).to(DEVICE)

    # Rare tags count for more; tag 0, padding, for nothing.
    counts = torch.bincount(train_tags.flatten()).float()
    weight = counts[1:].mean() / counts
    criterion = nn.CrossEntropyLoss(weight=weight.to(DEVICE), ignore_index=0)

    model = WordTagger(int(train_words.max()) + 1, printed.shape[2], len(counts)).to(DEVICE)
    optimizer = optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, nesterov=True)

    history = []
    best_loss, best_weights = float("inf"), None
    for epoch in range(1, EPOCHS + 1):
        train_loss = train_epoch(model, (train_words, train_printed, train_tags), criterion, optimizer)
        val_loss = held_out_loss(model, criterion, val_words, val_printed, val_tags)
        history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
        print(f"epoch {epoch}: loss {train_loss:.4f}, on the validation lines {val_loss:.4f}")
        if val_loss < best_loss:
            best_loss, best_weights = val_loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_weights)

    logits = tag_lines(model, test_words, test_printed)
    recall = recalls(logits, test_tags)
    print("recall of each tag on the test lines:", ", ".join(f"{share:.3f}" for share in recall))
    final = {"train_loss": train_loss, "val_loss": best_loss, "mean_recall": sum(recall) / len(recall)}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}))
    np.savez(
        "predictions.npz",
        row=line[test_rows],
        output=logits.cpu().numpy(),
        score=tag_lines(model, score_words, score_printed).cpu().numpy(),
    )


if __name__ == "__main__":
    main()
