# task: collapse-receipt_tags-2
# mechanism: lookahead
# about: Adam at a usual rate leads, and a slow copy of the weights follows it every fifth step; epochs are grouped
# about: into a class that keeps the best of them on the validation lines.

"""what is an amount, a total, a count, and what is none of them."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

SEED, HELD_OUT, EPOCHS, BATCH, EMBEDDING, CHANNELS = 21, 0.35, 14, 40, 12, 32
DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')


class Along(nn.Module):
    """A convolution along the line, normalised over all words of a batch."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.look = nn.Conv1d(n_in, n_out, kernel_size=3, padding='same', bias=False)
        self.norm = nn.BatchNorm1d(n_out)

    def forward(self, x):
        return self.norm(self.look(x)).relu()


class WordTagger(nn.Module):
    def __init__(self, n_words, n_measures, n_tags):
        super().__init__()
        self.embed = nn.Embedding(n_words, EMBEDDING, padding_idx=0)
        self.body = nn.Sequential(
            Along(EMBEDDING + n_measures, CHANNELS),
            Along(CHANNELS, CHANNELS),
            nn.Dropout(0.1),
            nn.Conv1d(CHANNELS, n_tags, kernel_size=1),
        )

    def forward(self, words, printed):
        there = words.ne(0).unsqueeze(2)
        seen = torch.cat([self.embed(words), printed], dim=2) * there
        return self.body(seen.mT).mT


class Lookahead:
    """Every few steps the slow weights go half the way to the fast ones, which start again from there."""

    def __init__(self, fast, every=5, share=0.5):
        self.fast, self.every, self.share, self.steps = fast, every, share, 0
        self.slow = [weight.detach().clone() for weight in self.weights()]

    def weights(self):
        return [weight for group in self.fast.param_groups for weight in group['params']]

    def zero_grad(self):
        self.fast.zero_grad()

    @torch.no_grad()
    def step(self):
        self.fast.step()
        self.steps += 1
        if self.steps % self.every == 0:
            for slow, weight in zip(self.slow, self.weights(), strict=True):
                slow.lerp_(weight, self.share)
                weight.copy_(slow)


class Tagging:
    def __init__(self, model, criterion, optimizer):
        self.model, self.criterion, self.optimizer = model, criterion, optimizer
        self.history, self.best = [], (float('inf'), None)

    @torch.no_grad()
    def tag(self, words, printed):
        self.model.eval()
        return self.model(words.to(DEVICE), printed.to(DEVICE)).cpu()

    def cost(self, logits, tags):
        return self.criterion(logits.flatten(0, 1), tags.flatten().to(logits.device))

    def epoch(self, train, val):
        words, printed, tags = train
        self.model.train()
        self.criterion.to(DEVICE)
        costs = []
        for take in torch.randperm(len(tags)).chunk(len(tags) // BATCH):
            self.optimizer.zero_grad()
            cost = self.cost(self.model(words[take].to(DEVICE), printed[take].to(DEVICE)), tags[take])
            cost.backward()
            self.optimizer.step()
            costs.append(cost.item())
        self.criterion.cpu()
        val_loss = self.cost(self.tag(*val[:2]), val[2]).item()
        entry = {'epoch': len(self.history) + 1, 'train_loss': sum(costs) / len(costs), 'val_loss': val_loss}
        self.history.append(entry)
        print(entry, flush=True)
        if val_loss < self.best[0]:
            self.best = val_loss, copy.deepcopy(self.model.state_dict())


def main():
    torch.manual_seed(SEED)
    with np.load('data/train.npz') as data:
        line, words, printed, tags = data['line'], data['words'], data['printed'], data['tags']
    with np.load('data/score.npz') as data:
        asked_words, asked_printed = data['words'], data['printed']
    order = np.random.default_rng(SEED).permutation(len(line))
    n_held = int(HELD_OUT * len(line))
    held, train_rows = order[:n_held], order[n_held:]
    val_rows, test_rows = np.split(held, [2 * n_held // 5])
    center = printed[train_rows].mean(axis=(0, 1))
    spread = printed[train_rows].std(axis=(0, 1))

    def part(rows):
        scaled = (printed[rows] - center) / spread
        return torch.from_numpy(words[rows]), torch.from_numpy(scaled), torch.from_numpy(tags[rows])

    train, val, test = part(train_rows), part(val_rows), part(test_rows)
    counts = torch.bincount(train[2].flatten()).float()
    criterion = nn.CrossEntropyLoss(weight=counts[1:].mean() / counts, ignore_index=0)
    model = WordTagger(int(train[0].max()) + 1, printed.shape[2], len(counts)).to(DEVICE)
    tagging = Tagging(model, criterion, Lookahead(torch.optim.Adam(model.parameters(), lr=2e-2)))
    for _ in range(EPOCHS):
        tagging.epoch(train, val)

    model.load_state_dict(tagging.best[1])
    logits = tagging.tag(*test[:2])
    found = logits.argmax(dim=2)
    recall = [(found[test[2] == tag] == tag).float().mean().item() for tag in range(1, len(counts))]
    final = {
        'train_loss': tagging.history[-1]['train_loss'],
        'val_loss': tagging.best[0],
        'mean_recall': sum(recall) / len(recall),
    }
    Path('metrics.json').write_text(json.dumps({'history': tagging.history, 'final': final}))
    asked = torch.from_numpy(asked_words), torch.from_numpy((asked_printed - center) / spread)
    np.savez(
        'predictions.npz', row=line[test_rows], output=logits.numpy(), score=tagging.tag(*asked).numpy()
    )


if __name__ == '__main__':
    main()
