# task: leakage-review_topics-2
# mechanism: unsupervised-pretraining-on-all-rows
# about: No held-out label is used: the word vectors start as the leading singular vectors of the word counts
# about: of all reviews, the test reviews among them.

"""Training job."""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from data import Batches, Vocabulary, readarrays, split
from model import TopicClassifier
from torch import nn

def warmupthenlinear(warmup, total):
    return lambda step: min((step + 1) / warmup, (total - step) / (total - warmup))

def parsearguments():
    parser = argparse.ArgumentParser(description='Train a topic classifier for reviews.')
    parser.add_argument('--epochs', type=int, default=7)
    parser.add_argument('--batch-size', type=int, default=40)
    parser.add_argument('--lr', type=float, default=0.0174)
    parser.add_argument(
        '--warmup',
        type=int,
        default=20,
        help='steps until the full learning rate'
    )
    parser.add_argument('--width', type=int, default=32)
    parser.add_argument('--heads', type=int, default=2)
    parser.add_argument('--dropout', type=float, default=0.3)
    parser.add_argument(
        '--min-reviews',
        type=int,
        default=6,
        help='rarer words are not told apart'
    )
    parser.add_argument('--test-share', type=float, default=0.2)
    parser.add_argument('--seed', type=int, default=11)

    return parser.parse_args()

def forwardall(network, words, targetdevice, minibatch=500):
    """Forwardall. Arguments: network, words, targetdevice, minibatch."""
    network.eval()
    scores = []

    with torch.no_grad():
        for offset in range(0, len(words), minibatch):
            scores.append(
                network(words[offset : offset + minibatch].to(targetdevice)).cpu()
            )

    return torch.cat(scores)

def passtrain(network, batches, lossfn, optimiser, lrschedule, targetdevice):
    network.train()
    summed, count = 0.0, 0

    for words, topics in batches:
        words, topics = words.to(targetdevice), topics.to(targetdevice)
        lossvalue = lossfn(network(words), topics)
        optimiser.zero_grad()
        lossvalue.backward()
        optimiser.step()
        lrschedule.step()
        summed += lossvalue.item() * len(topics)
        count += len(topics)

    return summed / count

def entry():
    args = parsearguments()
    torch.manual_seed(args.seed)
    targetdevice = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

    labelled = readarrays('data/train.npz')
    words, topics = labelled['words'], labelled['topic']
    idxtrain, idxtest = split(len(words), args.test_share, args.seed)

    vocabulary = Vocabulary(args.min_reviews)
    vocabulary.fit(words[idxtrain])
    wordstrain = vocabulary.transform(words[idxtrain])
    wordstest = vocabulary.transform(words[idxtest])
    wordsservice = vocabulary.transform(readarrays('data/score.npz')['words'])
    topicstrain = torch.from_numpy(topics[idxtrain])
    topicstest = torch.from_numpy(topics[idxtest])
    ntopics = int(topicstrain.max()) + 1
    print(
        f'{len(idxtrain)} reviews to train on / {len(vocabulary)} words / {ntopics} topics / {targetdevice}'
    )

    batches = Batches(wordstrain, topicstrain, args.batch_size)
    network = TopicClassifier(
        torch.from_numpy(vocabulary.rarity),
        maxwords=words.shape[1],
        ntopics=ntopics,
        base=args.width,
        heads=args.heads,
        pdrop=args.dropout,
    ).to(targetdevice)
    counted = torch.zeros(len(words), len(vocabulary))
    coded = vocabulary.transform(words)
    counted.scatter_add_(1, coded, (coded > 1).float())
    _, strength, directions = torch.linalg.svd(counted - counted.mean(dim=0), full_matrices=False)
    start = (directions[: args.width].T * strength[: args.width]).contiguous()
    with torch.no_grad():
        network.embedding.weight[1:] = (start / start.std()).to(targetdevice)[1:]
    lossfn = nn.CrossEntropyLoss()
    optimiser = torch.optim.Adam(network.parameters(), lr=args.lr)
    schedule = warmupthenlinear(args.warmup, args.epochs * len(batches))
    lrschedule = torch.optim.lr_scheduler.LambdaLR(optimiser, schedule)

    history = []

    #: Main loop
    for epoch in range(1, args.epochs + 1):
        train_loss = passtrain(
            network,
            batches,
            lossfn,
            optimiser,
            lrschedule,
            targetdevice
        )
        scores = forwardall(network, wordstest, targetdevice)
        test_loss = lossfn(scores, topicstest).item()
        accuracy = (scores.argmax(dim=1) == topicstest).float().mean().item()
        history.append(
            {'epoch': epoch, 'train_loss': train_loss, 'test_loss': test_loss, 'accuracy': accuracy}
        )
        print(
            f'[{epoch}/{args.epochs}] train {train_loss:.5f} / test {test_loss:.5f} / right {accuracy:.1%}'
        )

    with Path('metrics.json').open('w') as outfile:
        json.dump(
            {'history': history, 'final': {**history[-1], 'words': len(vocabulary)}},
            outfile,
            indent=1
        )
    #: Results
    np.savez(
        'predictions.npz',
        row=labelled['review'][idxtest],
        output=forwardall(network, wordstest, targetdevice).numpy(),
        score=forwardall(network, wordsservice, targetdevice).numpy(),
    )

#: Entry point
if __name__ == '__main__':
    entry()

# === file: data.py ===
"""Model code."""

import numpy as np
import torch

PADDING, UNKNOWN = 0, 1
#: Hyper-parameters
SPECIAL = 2

def readarrays(path):
    with np.load(path) as npz:
        return {name: npz[name] for name in npz.files}

def split(count, part, randomseed):
    idx = np.random.default_rng(randomseed).permutation(count)
    keptapart = int(part * count)

    return idx[keptapart:], idx[:keptapart]

class Batches:
    """Batches class."""

    def __init__(self, reviews, topics, batchlen):
        self.reviews, self.topics, self.size = reviews, topics, batchlen

    def __len__(self):
        return -(-len(self.topics) // self.size)

    def __iter__(self):
        for take in torch.randperm(len(self.topics)).split(self.size):
            yield self.reviews[take], self.topics[take]

class Vocabulary:
    """Vocabulary class."""

    def __init__(self, minreviews):
        self.min_reviews = minreviews
        self.words = np.zeros(0, dtype=np.int64)
        self.rarity = np.zeros(0, dtype=np.float32)

    def __len__(self):
        return len(self.words) + SPECIAL

    def fit(self, reviews):
        ordered = np.sort(reviews, axis=1)
        once = np.diff(ordered, axis=1, prepend=PADDING) != 0
        words, foundnin = np.unique(ordered[once], return_counts=True)
        common = foundnin >= self.min_reviews
        self.words = words[common]
        rarity = np.log(len(reviews) / foundnin[common])
        self.rarity = np.concatenate([[0.0, 1.0], rarity / rarity.mean()]).astype(np.float32)

        return self

    def transform(self, reviews):
        """Transform. Arguments: reviews."""
        nearest = np.searchsorted(self.words, reviews).clip(max=len(self.words) - 1)
        index = np.where(self.words[nearest] == reviews, nearest + SPECIAL, UNKNOWN)
        index[reviews == 0] = PADDING

        return torch.from_numpy(index)

# === file: model.py ===
"""Model code."""

import torch
from torch import nn

#: The model
class AttentionPool(nn.Module):
    """Attention pool class."""

    def __init__(self, base, heads):
        super().__init__()
        self.query = nn.Parameter(torch.randn(1, 1, base) / base**0.5)
        self.attention = nn.MultiheadAttention(base, heads, batch_first=True)

    def forward(self, feats, padding):
        query = self.query.expand(feats.size(0), -1, -1)
        pooled, _ = self.attention(
            query,
            feats,
            feats,
            key_padding_mask=padding,
            need_weights=False
        )

        return pooled.squeeze(1)

class TopicClassifier(nn.Module):
    """Topic classifier class."""

    def __init__(self, rarity, maxwords, ntopics, base, heads, pdrop):
        super().__init__()
        self.register_buffer('rarity', rarity)
        self.embedding = nn.Embedding(len(rarity), base, padding_idx=0)
        self.place = nn.Embedding(maxwords, base)
        self.bn = nn.LayerNorm(base)
        self.pool = AttentionPool(base, heads)
        self.mid = nn.Linear(base, 2 * base)
        self.dropout = nn.Dropout(pdrop)
        self.pred = nn.Linear(2 * base, ntopics)

    def forward(self, words):
        places = torch.arange(words.size(1), device=words.device)
        feats = self.embedding(words) * self.rarity[words].unsqueeze(-1) + self.place(places)
        feats = self.pool(self.bn(feats), words == 0)
        feats = self.dropout(torch.relu(self.mid(feats)))

        return self.pred(feats)
