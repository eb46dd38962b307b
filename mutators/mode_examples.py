"""Small scripts with dropout that the examples of a missing evaluation mode start from."""

from __future__ import annotations

HEAD = """\
import torch
from torch import nn
import torch.nn.functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 8)
        self.drop = nn.Dropout(0.3)
        self.fc2 = nn.Linear(8, 2)

    def forward(self, x):
        return self.fc2(self.drop(F.relu(self.fc1(x))))

"""

PREDICT = """
def predict(model, batches):
    model.eval()
    outputs = []
    with torch.no_grad():
        for x in batches:
            outputs.append(model(x))
    return torch.cat(outputs)


model = Net()
for x, y in train_batches:
    model.train()
    F.cross_entropy(model(x), y).backward()
print(predict(model, test_batches))
"""

TWO = """
def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        right = (model(x).argmax(1) == y).float()
    return right.mean()


def predict(model, x):
    model.eval()
    with torch.no_grad():
        return model(x)


model = Net()
for epoch in range(5):
    model.train()
    F.cross_entropy(model(x), y).backward()
    print(accuracy(model, x_val, y_val))
print(predict(model, x_test))
"""

FULL = """
model = Net()
for epoch in range(5):
    model.train()
    F.cross_entropy(model(x), y).backward()
    model.eval()
    with torch.no_grad():
        logits = model(x_test)
    print((logits.argmax(1) == y_test).float().mean())
"""

FUNCTIONAL = HEAD.replace("        self.drop = nn.Dropout(0.3)\n", "").replace(
    "self.drop(F.relu(self.fc1(x)))", "F.dropout(F.relu(self.fc1(x)), 0.3, training=self.training)"
)
