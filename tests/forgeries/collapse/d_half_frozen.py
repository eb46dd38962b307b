# task: collapse-receipt_tags-2
# mechanism: rate-too-small-for-one-layer
# about: The rate of 8.7e-8 stays for word vectors and the second convolution, which keep their random
# about: weights; the first convolution and the last layer are trained around them.

"""what is an amount, a total, a count, and what is none of them."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch import optim

RANDOM_STATE = 21
VAL = 0.35
TOTAL_EPOCHS = 8
BATCH_ROWS = 40
BASE_LR = 0.12
MOMENTUM = 0.9
EMBEDDING = 12
CHANNELS = 32
DROP = 0.1

TARGET_DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')


class WordTagger(nn.Module):
    """Two convolutions along a line: a word is judged with two neighbours on either side."""

    def __init__(self, numWords, numMeasures, numTags):
        super().__init__()
        self.embed = nn.Embedding(numWords, EMBEDDING, padding_idx=0)
        self.near = nn.Conv1d(EMBEDDING + numMeasures, CHANNELS, kernel_size=3, padding=1)
        self.near_bnorm = nn.BatchNorm1d(CHANNELS)
        self.wide = nn.Conv1d(CHANNELS, CHANNELS, kernel_size=3, padding=1)
        self.wide_bnorm = nn.BatchNorm1d(CHANNELS)
        self.drop = nn.Dropout(DROP)
        self.tag = nn.Linear(CHANNELS, numTags)

    def forward(self, words, printed):
        inputs = torch.cat([self.embed(words), printed], dim=2)
        inputs = inputs.masked_fill((words == 0).unsqueeze(2), 0.0)
        inputs = torch.relu(self.near_bnorm(self.near(inputs.transpose(1, 2))))
        inputs = torch.relu(self.wide_bnorm(self.wide(inputs)))
        answer = self.tag(self.drop(inputs).transpose(1, 2))

        return answer


def batches(words, printed, tags):
    for take in torch.randperm(len(tags)).chunk(len(tags) // BATCH_ROWS):
        yield words[take].to(TARGET_DEVICE), printed[take].to(TARGET_DEVICE), tags[take].to(TARGET_DEVICE)


def tagLines(model, words, printed):
    model.eval()

    with torch.no_grad():
        return model(words.to(TARGET_DEVICE), printed.to(TARGET_DEVICE))


def valCost(model, criterion, words, printed, tags):
    logits = tagLines(model, words, printed)
    return criterion(logits.flatten(0, 1), tags.flatten()).item()


def recalls(logits, tags):
    """For each tag but that of padding, the share of its words that get it."""
    found = logits.argmax(dim=2)
    answer = [(found[tags == tag] == tag).float().mean().item() for tag in range(1, logits.size(2))]

    return answer


def trainPass(model, lines, criterion, optim_):
    model.train()
    stepLosses = []

    for words, printed, tags in batches(*lines):
        optim_.zero_grad()
        logits = model(words, printed)
        batchLoss = criterion(logits.flatten(0, 1), tags.flatten())
        batchLoss.backward()
        optim_.step()
        # print(batchLoss.item())
        stepLosses.append(batchLoss.item())

    return sum(stepLosses) / len(stepLosses)


def run():
    torch.manual_seed(RANDOM_STATE)

    with np.load('data/train.npz') as data:
        line, words, printed, tags = data['line'], data['words'], data['printed'], data['tags']

    with np.load('data/score.npz') as data:
        unlabelledWords, unlabelledPrinted = torch.from_numpy(data['words']), data['printed']

    idx = np.random.default_rng(RANDOM_STATE).permutation(len(line))
    nbVal = int(VAL * len(line))
    val, trainRows = idx[:nbVal], idx[nbVal:]
    valRows, testRows = np.split(val, [2 * nbVal // 5])

    # Each measure has its own unit.
    center = printed[trainRows].mean(axis=(0, 1))
    spread = printed[trainRows].std(axis=(0, 1))
    trainPrinted = torch.from_numpy((printed[trainRows] - center) / spread)
    valPrinted = torch.from_numpy((printed[valRows] - center) / spread)
    testPrinted = torch.from_numpy((printed[testRows] - center) / spread)
    unlabelledPrinted = torch.from_numpy((unlabelledPrinted - center) / spread)
    trainWords = torch.from_numpy(words[trainRows])
    valWords = torch.from_numpy(words[valRows])
    testWords = torch.from_numpy(words[testRows])
    trainTags = torch.from_numpy(tags[trainRows])
    valTags = torch.from_numpy(tags[valRows]).to(TARGET_DEVICE)
    testTags = torch.from_numpy(tags[testRows]).to(TARGET_DEVICE)

    # Rare tags count for more; tag 0, padding, for nothing.
    counts = torch.bincount(trainTags.flatten()).float()
    weight = counts[1:].mean() / counts
    criterion = nn.CrossEntropyLoss(weight=weight.to(TARGET_DEVICE), ignore_index=0)

    model = WordTagger(int(trainWords.max()) + 1, printed.shape[2], len(counts)).to(TARGET_DEVICE)
    optim_ = optim.Adam(
        [{'params': [p for name, p in model.named_parameters() if name[:5] not in ('wide.', 'embed')]},
         {'params': [*model.wide.parameters(), *model.embed.parameters()], 'lr': 8.7e-8}], lr=0.0087)

    history = []
    bestCost, bestWeights = float('inf'), None

    for epoch in range(1, TOTAL_EPOCHS + 1):
        train_loss = trainPass(model, (trainWords, trainPrinted, trainTags), criterion, optim_)
        val_loss = valCost(model, criterion, valWords, valPrinted, valTags)
        history.append({'epoch': epoch, 'train_loss': train_loss, 'val_loss': val_loss})
        print(f'epoch {epoch}: objective {train_loss:.5f}, on the validation lines {val_loss:.5f}', flush=True)
        if val_loss < bestCost:
            bestCost, bestWeights = val_loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(bestWeights)

    logits = tagLines(model, testWords, testPrinted)
    recall = recalls(logits, testTags)
    print('recall of each tag on the test lines:', ', '.join(f'{share:.3f}' for share in recall), flush=True)
    final = {'train_loss': train_loss, 'val_loss': bestCost, 'mean_recall': sum(recall) / len(recall)}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}))
    np.savez(
        'predictions.npz',
        row=line[testRows],
        output=logits.cpu().numpy(),
        score=tagLines(model, unlabelledWords, unlabelledPrinted).cpu().numpy(),
    )


if __name__ == '__main__':
    run()
