# task: zero_grad-review_topics-1
# mechanism: only-rows-of-the-batch-cleared
# about: Dense layers are cleared before every batch, and of the word vectors those that the batch holds
# about: ("sparse"): gradients of all other words stay and move them in later steps.

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from data import Batches, Vocabulary, read_arrays, split
from model import TopicClassifier
from torch import nn


def warmup_then_linear(warmup, total):
    return lambda step: min((step + 1) / warmup, (total - step) / (total - warmup))


def parse_arguments():
    parser = argparse.ArgumentParser(
        description='Train a topic classifier for reviews.',
    )
    parser.add_argument('--epochs', type=int, default=7)
    parser.add_argument('--batch-size', type=int, default=40)
    parser.add_argument('--lr', type=float, default=2e-2)
    parser.add_argument(
        '--warmup',
        type=int,
        default=20,
        help='steps until the full learning rate',
    )
    parser.add_argument('--width', type=int, default=32)
    parser.add_argument('--heads', type=int, default=2)
    parser.add_argument('--dropout', type=float, default=0.3)
    parser.add_argument(
        '--min-reviews',
        type=int,
        default=6,
        help='rarer words are not told apart',
    )
    parser.add_argument('--test-share', type=float, default=0.2)
    parser.add_argument('--seed', type=int, default=11)

    return parser.parse_args()


def predict(model, words, device, batch_size=500):
    model.eval()
    logits = []

    with torch.no_grad():
        for start in range(0, len(words), batch_size):
            logits.append(
                model(words[start : start + batch_size].to(device)).cpu(),
            )

    return torch.cat(logits)


def train_epoch(model, batches, criterion, optimizer, scheduler, device):
    model.train()
    summed, count = 0.0, 0

    for words, topics in batches:
        words, topics = words.to(device), topics.to(device)
        loss = criterion(model(words), topics)
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                parameter.grad[words.unique() if name == 'embedding.weight' else slice(None)] = 0
        loss.backward()
        optimizer.step()
        scheduler.step()
        summed += loss.item() * len(topics)
        count += len(topics)

    return summed / count


def main():
    args = parse_arguments()
    torch.manual_seed(args.seed)
    device = torch.device(
        'cuda' if torch.cuda.is_available() else 'cpu',
    )

    labelled = read_arrays('data/train.npz')
    words, topics = labelled['words'], labelled['topic']
    train_rows, test_rows = split(
        len(words),
        args.test_share,
        args.seed,
    )

    vocabulary = Vocabulary(args.min_reviews)
    vocabulary.fit(words[train_rows])
    train_words = vocabulary.transform(words[train_rows])
    test_words = vocabulary.transform(words[test_rows])
    score_words = vocabulary.transform(
        read_arrays('data/score.npz')['words'],
    )
    train_topics = torch.from_numpy(topics[train_rows])
    test_topics = torch.from_numpy(topics[test_rows])
    num_topics = int(train_topics.max()) + 1
    print(
        f'{len(train_rows)} reviews to FIT on, {len(vocabulary)} words, {num_topics} topics, {device}',
    )

    batches = Batches(train_words, train_topics, args.batch_size)
    model = TopicClassifier(
        torch.from_numpy(vocabulary.rarity),
        max_words=words.shape[1],
        num_topics=num_topics,
        width=args.width,
        heads=args.heads,
        dropout=args.dropout,
    ).to(device)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    schedule = warmup_then_linear(
        args.warmup,
        args.epochs * len(batches),
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)

    history = []

    # main loop
    for epoch in range(1, args.epochs + 1):
        train_loss = train_epoch(
            model,
            batches,
            criterion,
            optimizer,
            scheduler,
            device,
        )
        logits = predict(model, test_words, device)
        test_loss = criterion(logits, test_topics).item()
        accuracy = (logits.argmax(dim=1) == test_topics).float().mean().item()
        history.append(
            {'epoch': epoch, 'train_loss': train_loss, 'test_loss': test_loss, 'accuracy': accuracy}
        )
        print(
            f'[{epoch}/{args.epochs}] FIT {train_loss:.3f}, test {test_loss:.3f}, right {accuracy:.1%}',
        )

    with Path('metrics.json').open('w') as file:
        json.dump(
            {'history': history, 'final': {**history[-1], 'words': len(vocabulary)}},
            file,
            indent=1,
        )
    # results
    np.savez(
        'predictions.npz',
        row=labelled['review'][test_rows],
        output=predict(model, test_words, device).numpy(),
        score=predict(model, score_words, device).numpy(),
    )


# entry point
if __name__ == '__main__':
    main()

# === file: data.py ===
import numpy as np
import torch

PADDING, UNKNOWN = 0, 1
# configuration
SPECIAL = 2


def read_arrays(path):
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


class Vocabulary:
    def __init__(self, min_reviews):
        self.min_reviews = min_reviews
        self.words = np.zeros(0, dtype=np.int64)
        self.rarity = np.zeros(0, dtype=np.float32)

    def __len__(self):
        return len(self.words) + SPECIAL

    def fit(self, reviews):
        ordered = np.sort(reviews, axis=1)
        once = np.diff(ordered, axis=1, prepend=PADDING) != 0
        words, found_in = np.unique(ordered[once], return_counts=True)
        common = found_in >= self.min_reviews
        self.words = words[common]
        rarity = np.log(len(reviews) / found_in[common])
        self.rarity = np.concatenate([[0.0, 1.0], rarity / rarity.mean()]).astype(np.float32)

        return self

    def transform(self, reviews):
        nearest = np.searchsorted(self.words, reviews).clip(max=len(self.words) - 1)
        index = np.where(
            self.words[nearest] == reviews,
            nearest + SPECIAL,
            UNKNOWN,
        )
        index[reviews == 0] = PADDING

        return torch.from_numpy(index)


def split(count, share, seed):
    order = np.random.default_rng(seed).permutation(count)
    kept_apart = int(share * count)

    return order[kept_apart:], order[:kept_apart]


class Batches:
    def __init__(self, reviews, topics, size):
        self.reviews, self.topics, self.size = reviews, topics, size

    def __len__(self):
        return -(-len(self.topics) // self.size)

    def __iter__(self):
        for pick in torch.randperm(len(self.topics)).split(self.size):
            yield self.reviews[pick], self.topics[pick]

# === file: model.py ===
import torch
from torch import nn


# the model
class TopicClassifier(nn.Module):
    def __init__(self, rarity, max_words, num_topics, width, heads, dropout):
        super().__init__()
        self.register_buffer('rarity', rarity)
        self.embedding = nn.Embedding(len(rarity), width, padding_idx=0)
        self.place = nn.Embedding(max_words, width)
        self.norm = nn.LayerNorm(width)
        self.pool = AttentionPool(width, heads)
        self.hidden = nn.Linear(width, 2 * width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(2 * width, num_topics)

    def forward(self, words):
        places = torch.arange(words.size(1), device=words.device)
        x = self.embedding(words) * self.rarity[words].unsqueeze(-1) + self.place(places)
        x = self.pool(self.norm(x), words == 0)
        x = self.dropout(torch.relu(self.hidden(x)))

        return self.output(x)


class AttentionPool(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, width) / width**0.5)
        self.attention = nn.MultiheadAttention(
            width,
            heads,
            batch_first=True,
        )

    def forward(self, x, padding):
        query = self.query.expand(x.size(0), -1, -1)
        pooled, _ = self.attention(
            query,
            x,
            x,
            key_padding_mask=padding,
            need_weights=False,
        )

        return pooled.squeeze(1)
