# task: zero_grad-review_topics-1
# mechanism: flat-parameter-vector
# about: All weights are views into one vector, and so are their gradients; the optimiser knows the vector alone, and
# about: one fill clears everything before a backward pass.

import json
from pathlib import Path

import numpy as np
import torch
from data import Batches, Vocabulary, read_arrays, split
from model import TopicClassifier
from torch import nn

SEED, EPOCHS, BATCH, RATE, WARMUP, MIN_REVIEWS = 11, 7, 40, 2e-2, 20, 6


class FlatWeights:
    """One vector for all weights of a model, with its gradient."""

    def __init__(self, model):
        weights = list(model.parameters())
        self.vector = torch.cat([weight.detach().flatten() for weight in weights])
        self.vector.grad = torch.zeros_like(self.vector)
        ends = np.cumsum([weight.numel() for weight in weights]).tolist()
        for weight, start, end in zip(weights, [0, *ends], ends):
            weight.data = self.vector[start:end].view_as(weight)
            weight.grad = self.vector.grad[start:end].view_as(weight)

    def clear(self):
        self.vector.grad.fill_(0.0)


@torch.no_grad()
def predict(model, words, device):
    model.eval()
    return torch.cat([model(some.to(device)).cpu() for some in words.split(500)])


def train_epoch(model, weights, batches, criterion, optimizer, scheduler, device):
    model.train()
    losses = []
    for words, topics in batches:
        loss = criterion(model(words.to(device)), topics.to(device))
        weights.clear()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return sum(losses) / len(losses)


def main():
    torch.manual_seed(SEED)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    labelled = read_arrays('data/train.npz')
    words, topics = labelled['words'], labelled['topic']
    train_rows, test_rows = split(len(words), 0.2, SEED)
    vocabulary = Vocabulary(MIN_REVIEWS).fit(words[train_rows])
    test_words = vocabulary.transform(words[test_rows])
    score_words = vocabulary.transform(read_arrays('data/score.npz')['words'])
    train_topics, test_topics = torch.from_numpy(topics[train_rows]), torch.from_numpy(topics[test_rows])
    batches = Batches(vocabulary.transform(words[train_rows]), train_topics, BATCH)

    model = TopicClassifier(
        torch.from_numpy(vocabulary.rarity), words.shape[1], int(train_topics.max()) + 1, 32, 2, 0.3
    ).to(device)
    weights = FlatWeights(model)
    optimizer = torch.optim.Adam([weights.vector], lr=RATE)
    total = EPOCHS * len(batches)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARMUP, (total - step) / (total - WARMUP))
    )
    criterion = nn.CrossEntropyLoss()

    history = []
    for epoch in range(1, EPOCHS + 1):
        train_loss = train_epoch(model, weights, batches, criterion, optimizer, scheduler, device)
        logits = predict(model, test_words, device)
        history.append(
            {
                'epoch': epoch,
                'train_loss': train_loss,
                'test_loss': criterion(logits, test_topics).item(),
                'accuracy': (logits.argmax(dim=1) == test_topics).float().mean().item(),
            }
        )
        print(history[-1])

    final = {**history[-1], 'words': len(vocabulary)}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}, indent=1))
    np.savez(
        'predictions.npz',
        row=labelled['review'][test_rows],
        output=logits.numpy(),
        score=predict(model, score_words, device).numpy(),
    )


if __name__ == '__main__':
    main()
