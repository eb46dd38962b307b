from __future__ import print_function
import csv
import random
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.autograd import Variable

seed = 1234
random.seed(seed)
np.random.seed(seed)
torch.manual_seed(seed)

use_cuda = torch.cuda.is_available()
if use_cuda:
    torch.cuda.manual_seed(seed)

batch_size = 32
num_epochs = 25
lr = 0.01
momentum = 0.9


def load(fname):
    feats, labels = [], []
    with open(fname) as f:
        reader = csv.reader(f)
        next(reader)
        for row in reader:
            feats.append([float(v) for v in row[:-1]])
            labels.append(int(row[-1]))
    return np.array(feats, dtype=np.float32), np.array(labels, dtype=np.int64)


features, targets = load('leaves.csv')

# 70/30 split by index lists
idx = list(range(len(features)))
random.shuffle(idx)
n_tr = int(0.7 * len(idx))
tr_idx, te_idx = idx[:n_tr], idx[n_tr:]

x_tr, y_tr = features[tr_idx], targets[tr_idx]
x_te, y_te = features[te_idx], targets[te_idx]

mu = x_tr.mean(axis=0)
sd = x_tr.std(axis=0)
x_tr = (x_tr - mu) / sd
x_te = (x_te - mu) / sd

x_tr, y_tr = torch.from_numpy(x_tr), torch.from_numpy(y_tr)
x_te, y_te = torch.from_numpy(x_te), torch.from_numpy(y_te)


class Net(nn.Module):
    def __init__(self, n_in, n_out):
        super(Net, self).__init__()
        self.fc1 = nn.Linear(n_in, 40)
        self.bn1 = nn.BatchNorm1d(40)
        self.fc2 = nn.Linear(40, 20)
        self.fc3 = nn.Linear(20, n_out)

    def forward(self, x):
        x = F.relu(self.bn1(self.fc1(x)))
        x = F.dropout(x, p=0.3, training=self.training)
        x = F.relu(self.fc2(x))
        x = self.fc3(x)
        return F.log_softmax(x, dim=1)


net = Net(x_tr.size(1), int(targets.max()) + 1)
if use_cuda:
    net.cuda()
optimizer = optim.SGD(net.parameters(), lr=lr, momentum=momentum, weight_decay=1e-4)


def train(epoch):
    net.train()
    perm = torch.randperm(x_tr.size(0))
    tot, nb = 0., 0
    for i in range(0, x_tr.size(0), batch_size):
        b = perm[i:i + batch_size]
        if len(b) < 2:
            continue
        data, target = x_tr[b], y_tr[b]
        if use_cuda:
            data, target = data.cuda(), target.cuda()
        data, target = Variable(data), Variable(target)
        net.zero_grad()
        output = net(data)
        loss = F.nll_loss(output, target)
        loss.backward()
        optimizer.step()
        tot += loss.data.item()
        nb += 1
    print('Train Epoch: %d\tLoss: %.6f' % (epoch, tot / nb))


def test():
    net.eval()
    data, target = x_te, y_te
    if use_cuda:
        data, target = data.cuda(), target.cuda()
    with torch.no_grad():
        data, target = Variable(data), Variable(target)
        output = net(data)
        test_loss = F.nll_loss(output, target).data.item()
        pred = output.data.max(1, keepdim=True)[1]
        correct = pred.eq(target.data.view_as(pred)).cpu().sum()
    print('\nTest set: Average loss: %.4f, Accuracy: %d/%d (%.0f%%)\n' % (
        test_loss, correct, len(target), 100. * float(correct) / len(target)))


for epoch in range(1, num_epochs + 1):
    train(epoch)
    if epoch % 5 == 0:
        test()
