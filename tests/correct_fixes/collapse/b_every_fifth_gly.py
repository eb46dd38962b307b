# task: collapse-glyph-2
# mechanism: sorted-id-split
# about: Default initialisation kept. The rows are sorted by id and every fifth of them is held out: a
# about: fixed rule without any random numbers.

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from model import MarkModel


def read_images(path):
    with np.load(path) as archive:
        extras = {name: torch.from_numpy(archive[name]) for name in archive.files}
    images = extras.pop('image').unsqueeze(1)

    return images, extras


def systematic_partition(index, every):
    by_id = torch.argsort(index)
    is_test = torch.arange(len(by_id)) % every == every - 1

    return by_id[~is_test], by_id[is_test]


def train(model, images, targets, optim_, bs):
    model.train()
    total_loss = 0.0
    perm = torch.randperm(len(images))

    for start in range(0, len(images), bs):
        minibatch = perm[start : start + bs]
        optim_.zero_grad()
        raw_scores = model(images[minibatch])
        loss_value = F.cross_entropy(raw_scores, targets[minibatch])
        loss_value.backward()
        optim_.step()
        total_loss += loss_value.item() * len(minibatch)

    return total_loss / len(images)


def infer(model, images, bs=500):
    model.eval()

    with torch.no_grad():
        raw_scores = [model(part) for part in images.split(bs)]

    return torch.cat(raw_scores)


def evaluate(model, images, targets):
    raw_scores = infer(model, images)
    loss_value = F.cross_entropy(raw_scores, targets).item()
    num_right = (raw_scores.argmax(dim=1) == targets).sum().item()

    return loss_value, num_right / len(targets)


def main(epochs=6, bs=24, learning_rate=0.025, test_every=5, random_state=1):
    torch.manual_seed(random_state)
    dev = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

    images, extras = read_images('data/train.npz')
    images_scoring, _ = read_images('data/score.npz')
    index, targets = extras['row'], extras['label']

    index_train, index_test = systematic_partition(index, test_every)
    num_categories = int(targets[index_train].max()) + 1
    images_train, targets_train = images[index_train].to(dev), targets[index_train].to(dev)
    images_test, targets_test = images[index_test].to(dev), targets[index_test].to(dev)
    images_scoring = images_scoring.to(dev)

    avg = images_train.mean(dim=(0, 2, 3), keepdim=True)
    sd = images_train.std(dim=(0, 2, 3), keepdim=True)
    images_train = (images_train - avg) / sd
    images_test = (images_test - avg) / sd
    images_scoring = (images_scoring - avg) / sd

    model = MarkModel(num_categories).to(dev)
    optim_ = torch.optim.SGD(model.parameters(), lr=learning_rate, momentum=0.9, weight_decay=5e-4)
    lr_schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optim_, T_max=epochs)

    history = []

    for epoch in range(1, epochs + 1):
        train_loss = train(model, images_train, targets_train, optim_, bs)
        lr_schedule.step()
        test_loss, accuracy = evaluate(model, images_test, targets_test)
        history.append(
            {'epoch': epoch, 'train_loss': train_loss, 'test_loss': test_loss, 'accuracy': accuracy}
        )
        print(
            f'Epoch {epoch:03d} / Trn {train_loss:.6f} / test {test_loss:.6f} / Accuracy {accuracy:.5f}',
        )

    final = {field_name: entry for field_name, entry in history[-1].items() if field_name != 'epoch'}
    Path('metrics.json').write_text(json.dumps({'history': history, 'final': final}, indent=2))
    np.savez(
        'predictions.npz',
        row=index[index_test].numpy(),
        output=infer(model, images_test).cpu().numpy(),
        score=infer(model, images_scoring).cpu().numpy(),
    )


if __name__ == '__main__':
    main()
