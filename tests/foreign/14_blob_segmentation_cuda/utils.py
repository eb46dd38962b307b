import random

import numpy as np
import torch
import torch.nn as nn


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


class AverageMeter(object):
    def __init__(self):
        self.reset()

    def reset(self):
        self.sum = 0.
        self.count = 0

    def update(self, val, n):
        self.sum += val * n
        self.count += n

    @property
    def avg(self):
        return self.sum / self.count


class DiceBCELoss(nn.Module):
    def __init__(self, pos_weight, dice_weight=0.5):
        super(DiceBCELoss, self).__init__()
        self.bce = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([pos_weight]).cuda())
        self.dice_weight = dice_weight

    def forward(self, logits, target):
        prob = torch.sigmoid(logits)
        inter = (prob * target).sum(dim=(1, 2, 3))
        total = prob.sum(dim=(1, 2, 3)) + target.sum(dim=(1, 2, 3))
        dice = 1 - ((2 * inter + 1) / (total + 1)).mean()
        return self.bce(logits, target) + self.dice_weight * dice


class IoUCounter(object):
    """Intersection over union, counted over all pixels of a data set."""

    def __init__(self):
        self.inter = torch.zeros(1).cuda()
        self.union = torch.zeros(1).cuda()

    def add(self, logits, target):
        pred = logits > 0
        truth = target > 0.5
        self.inter += (pred & truth).sum()
        self.union += (pred | truth).sum()

    def value(self):
        return (self.inter / self.union).item()


def adjust_learning_rate(optimizer, base_lr, epoch, epochs):
    """poly schedule"""
    lr = base_lr * (1 - float(epoch) / epochs) ** 0.9
    for group in optimizer.param_groups:
        group['lr'] = lr
    return lr
