# task: leakage-review_topics-2
# mechanism: boolean-rows
# about: A mask of the held-out rows picks what is learned from, in both places.

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

    learned = np.ones(len(words), dtype=bool)
    learned[idxtest] = False
    vocabulary = Vocabulary(args.min_reviews)
    vocabulary.fit(words[learned])
    wordstrain = vocabulary.transform(words[learned])
    wordstest = vocabulary.transform(words[idxtest])
    wordsservice = vocabulary.transform(readarrays('data/score.npz')['words'])
    topicstrain = torch.from_numpy(topics[learned])
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
