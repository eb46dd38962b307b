import argparse
import sys
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, Dataset, SubsetRandomSampler

FONT = {
    0: ".###. #...# #...# #...# #...# #...# .###.",
    1: "..#.. .##.. ..#.. ..#.. ..#.. ..#.. .###.",
    2: ".###. #...# ....# ...#. ..#.. .#... #####",
    3: "####. ....# ....# .###. ....# ....# ####.",
    4: "...#. ..##. .#.#. #..#. ##### ...#. ...#.",
    5: "##### #.... ####. ....# ....# #...# .###.",
    6: ".###. #.... #.... ####. #...# #...# .###.",
    7: "##### ....# ...#. ...#. ..#.. ..#.. ..#..",
    8: ".###. #...# #...# .###. #...# #...# .###.",
    9: ".###. #...# #...# .#### ....# ....# .###.",
}


def glyph(d):
    return np.array([[1.0 if c == '#' else 0.0 for c in row] for row in FONT[d].split()])


class TinyDigits(Dataset):
    """8x8 grey digits: shifted, dimmed, noisy versions of a 7x5 font."""

    def __init__(self, n, seed):
        rng = np.random.RandomState(seed)
        imgs = np.zeros((n, 1, 8, 8), dtype=np.float32)
        labels = rng.randint(0, 10, n)
        for i, d in enumerate(labels):
            top, left = rng.randint(0, 2), rng.randint(0, 4)
            imgs[i, 0, top:top + 7, left:left + 5] = glyph(d) * rng.uniform(120, 255)
            imgs[i, 0] += rng.normal(0, 28, (8, 8))
        self.imgs = np.clip(imgs, 0, 255)
        self.labels = labels
        self.mean, self.std = 0.0, 1.0

    def set_stats(self, mean, std):
        self.mean, self.std = float(mean), float(std)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        img = torch.from_numpy(self.imgs[index])
        return (img - self.mean) / self.std, int(self.labels[index])


class Net(nn.Module):
    def __init__(self, drop=0.25):
        super(Net, self).__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.drop = nn.Dropout(drop)
        self.fc1 = nn.Linear(16 * 2 * 2, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = torch.flatten(x, 1)
        x = self.drop(F.relu(self.fc1(x)))
        return F.log_softmax(self.fc2(x), dim=1)


def train(args, model, device, loader, optimizer, epoch):
    model.train()
    seen = 0
    for batch_idx, (data, target) in enumerate(loader):
        data, target = data.to(device), target.to(device)
        optimizer.zero_grad()
        output = model(data)
        loss = F.nll_loss(output, target)
        loss.backward()
        optimizer.step()
        seen += len(data)
        if batch_idx % args.log_interval == 0:
            print('Train Epoch: {} [{}/{} ({:.0f}%)]\tLoss: {:.6f}'.format(
                epoch, seen, len(loader.sampler),
                100. * batch_idx / len(loader), loss.item()))
        if args.dry_run:
            break


def test(model, device, loader, name):
    model.eval()
    test_loss = 0
    correct = 0
    n = 0
    with torch.no_grad():
        for data, target in loader:
            data, target = data.to(device), target.to(device)
            output = model(data)
            test_loss += F.nll_loss(output, target, reduction='sum').item()
            pred = output.argmax(dim=1, keepdim=True)
            correct += pred.eq(target.view_as(pred)).sum().item()
            n += len(target)
    print('{}: Average loss: {:.4f}, Accuracy: {}/{} ({:.1f}%)'.format(
        name, test_loss / n, correct, n, 100. * correct / n))


def main():
    parser = argparse.ArgumentParser(description='Tiny digits')
    parser.add_argument('--batch-size', type=int, default=64, metavar='N')
    parser.add_argument('--epochs', type=int, default=8, metavar='N')
    parser.add_argument('--lr', type=float, default=0.5, metavar='LR')
    parser.add_argument('--gamma', type=float, default=0.8, metavar='M')
    parser.add_argument('--dropout', type=float, default=0.25)
    parser.add_argument('--no-cuda', action='store_true', default=False)
    parser.add_argument('--dry-run', action='store_true', default=False)
    parser.add_argument('--seed', type=int, default=1, metavar='S')
    parser.add_argument('--log-interval', type=int, default=10, metavar='N')
    args = parser.parse_args()

    use_cuda = not args.no_cuda and torch.cuda.is_available()
    torch.manual_seed(args.seed)
    device = torch.device('cuda' if use_cuda else 'cpu')

    start = time.time()
    data = TinyDigits(1500, seed=args.seed)
    indices = np.random.RandomState(args.seed).permutation(len(data))
    train_idx, val_idx = indices[:1200].tolist(), indices[1200:].tolist()
    data.set_stats(data.imgs[train_idx].mean(), data.imgs[train_idx].std())
    testdata = TinyDigits(400, seed=args.seed + 1000)
    testdata.set_stats(data.mean, data.std)

    kwargs = {'num_workers': 0, 'pin_memory': use_cuda}
    train_loader = DataLoader(data, batch_size=args.batch_size,
                              sampler=SubsetRandomSampler(train_idx), **kwargs)
    val_loader = DataLoader(data, batch_size=300, sampler=SubsetRandomSampler(val_idx), **kwargs)
    test_loader = DataLoader(testdata, batch_size=200, **kwargs)

    model = Net(args.dropout).to(device)
    optimizer = torch.optim.Adadelta(model.parameters(), lr=args.lr)
    scheduler = StepLR(optimizer, step_size=1, gamma=args.gamma)
    for epoch in range(1, args.epochs + 1):
        train(args, model, device, train_loader, optimizer, epoch)
        test(model, device, val_loader, 'Validation')
        scheduler.step()

    test(model, device, test_loader, 'Test')
    print('took %.1fs' % (time.time() - start), file=sys.stderr)


if __name__ == '__main__':
    main()
