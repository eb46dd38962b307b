# %%
import csv
import random

import numpy as np
import torch

# %%
random.seed(0)
np.random.seed(0)
torch.manual_seed(0)

with open("houses.csv") as f:
    rows = [[float(v) for v in r] for r in list(csv.reader(f))[1:]]
data = np.array(rows, dtype=np.float32)
perm = np.random.permutation(len(data))
n_train = int(0.75 * len(data))
train_rows, test_rows = perm[:n_train], perm[n_train:]

# %%
X, y = data[:, :-1], data[:, -1]
mu = X[train_rows].mean(axis=0)
sd = X[train_rows].std(axis=0)
X_train = torch.from_numpy((X[train_rows] - mu) / sd)
X_test = torch.from_numpy((X[test_rows] - mu) / sd)
y_train = torch.from_numpy(y[train_rows])
y_test = torch.from_numpy(y[test_rows])

# %%
model = torch.nn.Sequential(
    torch.nn.Linear(4, 16),
    torch.nn.Tanh(),
    torch.nn.Linear(16, 1),
)
opt = torch.optim.SGD(model.parameters(), lr=0.05)
loss_fn = torch.nn.MSELoss()

# %%
for epoch in range(30):
    order = torch.randperm(len(X_train))
    for start in range(0, len(order), 32):
        batch = order[start:start + 32]
        opt.zero_grad()
        pred = model(X_train[batch]).squeeze(1)
        loss = loss_fn(pred, y_train[batch])
        loss.backward()
        opt.step()

# %%
with torch.no_grad():
    test_loss = loss_fn(model(X_test).squeeze(1), y_test)
print("test mse", float(test_loss))
