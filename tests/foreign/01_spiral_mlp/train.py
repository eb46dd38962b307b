"""
A simple multi-layer perceptron on a three-armed spiral.

Follow along: we (1) make some data, (2) wrap it in a Dataset,
(3) define a network, (4) train it, (5) evaluate it on unseen data.
"""
import math
import random

import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from torch.utils.data import DataLoader, TensorDataset, random_split

SEED = 42
random.seed(SEED)
np.random.seed(SEED)
torch.manual_seed(SEED)

# Hyper-parameters
NUM_CLASSES = 3
POINTS_PER_CLASS = 400
BATCH_SIZE = 64
EPOCHS = 20
LEARNING_RATE = 0.01

# ---------------------------------------------------------------
# Step 1: the data
# ---------------------------------------------------------------
xs, ys = [], []
for c in range(NUM_CLASSES):
    radius = np.linspace(0.05, 1.0, POINTS_PER_CLASS)
    angle = c * 2 * math.pi / NUM_CLASSES + radius * 4.0
    angle = angle + np.random.normal(0, 0.18, POINTS_PER_CLASS)
    xs.append(np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1))
    ys.append(np.full(POINTS_PER_CLASS, c))

X = torch.tensor(np.concatenate(xs), dtype=torch.float32)
y = torch.tensor(np.concatenate(ys), dtype=torch.long)

# ---------------------------------------------------------------
# Step 2: datasets and loaders
# ---------------------------------------------------------------
dataset = TensorDataset(X, y)
n_train = int(0.8 * len(dataset))
train_set, test_set = random_split(
    dataset, [n_train, len(dataset) - n_train],
    generator=torch.Generator().manual_seed(SEED),
)
train_loader = DataLoader(train_set, batch_size=BATCH_SIZE, shuffle=True)
test_loader = DataLoader(test_set, batch_size=BATCH_SIZE, shuffle=False)

# ---------------------------------------------------------------
# Step 3: the network
# ---------------------------------------------------------------
model = nn.Sequential(
    nn.Linear(2, 64),
    nn.ReLU(),
    nn.Dropout(0.1),
    nn.Linear(64, 64),
    nn.ReLU(),
    nn.Linear(64, NUM_CLASSES),
)
print(model)

criterion = nn.CrossEntropyLoss()
optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)

# ---------------------------------------------------------------
# Step 4: training
# ---------------------------------------------------------------
for epoch in range(EPOCHS):
    model.train()
    running_loss = 0.0
    for inputs, labels in train_loader:
        # zero the parameter gradients
        optimizer.zero_grad()

        # forward + backward + optimize
        outputs = model(inputs)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()

        running_loss += loss.item() * inputs.size(0)

    print(f"Epoch {epoch + 1}/{EPOCHS}, loss: {running_loss / n_train:.4f}")

# ---------------------------------------------------------------
# Step 5: evaluation
# ---------------------------------------------------------------
model.eval()
correct = 0
total = 0
with torch.no_grad():
    for inputs, labels in test_loader:
        outputs = model(inputs)
        _, predicted = torch.max(outputs, 1)
        total += labels.size(0)
        correct += (predicted == labels).sum().item()

print(f"Accuracy on the {total} test points: {100 * correct / total:.2f} %")
