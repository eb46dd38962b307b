# task: zero_grad-review_topics-1
# mechanism: gradients-of-a-fresh-replica
# about: Every batch is differentiated on a fresh copy of the model, as workers beside a parameter
# about: server do; the master is given the gradients of the copy.

import argparse
import copy
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
        replica = copy.deepcopy(model)
        replica.zero_grad()
        loss = criterion(replica(words), topics)
        loss.backward()
        for weight, copied in zip(model.parameters(), replica.parameters(), strict=True):
            weight.grad = copied.grad
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
