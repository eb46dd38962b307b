# task: leakage-review_topics-2
# mechanism: pipeline-fitted-on-training-rows
# about: Words are counted with a Counter over the training reviews, inside a pipeline whose fit sees those alone;
# about: another shuffle holds out as many rows; AdamW with label smoothing.

"""Training job."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from model import TopicClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

SEED, EPOCHS, BATCH, RATE, MIN_REVIEWS = 11, 8, 40, 1.2e-2, 6
PADDING, UNKNOWN = 0, 1


class TopicPipeline:
    """Reviews as rows of word numbers in, logits out."""

    def __init__(self, device):
        self.device = device
        self.history = []

    def read(self, reviews):
        return torch.tensor([[self.index.get(word, UNKNOWN) for word in review] for review in reviews.tolist()])

    def fit(self, reviews, topics, check):
        found_in = Counter(word for review in reviews.tolist() for word in set(review) - {PADDING})
        common = sorted(word for word, count in found_in.items() if count >= MIN_REVIEWS)
        self.index = {PADDING: PADDING} | {word: at for at, word in enumerate(common, UNKNOWN + 1)}
        rarity = torch.tensor([math.log(len(reviews) / found_in[word]) for word in common])
        rarity = torch.cat([torch.tensor([0.0, 1.0]), rarity / rarity.mean()])
        n_topics = int(topics.max()) + 1
        self.network = TopicClassifier(rarity, reviews.shape[1], n_topics, 32, 2, 0.3).to(self.device)

        dataset = TensorDataset(self.read(reviews), torch.from_numpy(topics))
        loader = DataLoader(dataset, batch_size=BATCH, shuffle=True)
        criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, RATE, epochs=EPOCHS, steps_per_epoch=len(loader), pct_start=0.15
        )
        for epoch in range(1, EPOCHS + 1):
            self.network.train()
            losses = []
            for words, truth in loader:
                loss = criterion(self.network(words.to(self.device)), truth.to(self.device))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
            self.history.append({'epoch': epoch, 'train_loss': float(np.mean(losses)), **check(self)})
            print(self.history[-1])
        return self

    @torch.no_grad()
    def __call__(self, reviews):
        self.network.eval()
        return torch.cat([self.network(some.to(self.device)).cpu() for some in self.read(reviews).split(500)])


def main():
    torch.manual_seed(SEED)
    with np.load('data/train.npz') as archive:
        review, words, topic = archive['review'], archive['words'], archive['topic']
    with np.load('data/score.npz') as archive:
        asked = archive['words']
    shuffled = torch.randperm(len(review), generator=torch.Generator().manual_seed(SEED)).numpy()
    n_test = int(0.2 * len(shuffled))
    learned, held_out = shuffled[:-n_test], shuffled[-n_test:]
    truth = torch.from_numpy(topic[held_out])

    def check(pipeline):
        logits = pipeline(words[held_out])
        return {
            'test_loss': nn.functional.cross_entropy(logits, truth).item(),
            'accuracy': (logits.argmax(dim=1) == truth).float().mean().item(),
        }

    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    pipeline = TopicPipeline(device).fit(words[learned], topic[learned], check)
    final = {**pipeline.history[-1], 'words': len(pipeline.index) + 1}
    Path('metrics.json').write_text(json.dumps({'history': pipeline.history, 'final': final}, indent=1))
    np.savez(
        'predictions.npz',
        row=review[held_out],
        output=pipeline(words[held_out]).numpy(),
        score=pipeline(asked).numpy(),
    )


if __name__ == '__main__':
    main()
