import sys

import numpy as np
import torch

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
torch.manual_seed(0)
table = torch.from_numpy(np.loadtxt("table.txt", dtype=np.float32))
inputs, targets = table[:, :2], table[:, 2:]
net = torch.nn.Linear(2, 1)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
criterion = torch.nn.MSELoss()
for epoch in range(EPOCHS):
    for batch in range(0, 80, 16):
        optimizer.zero_grad()
        loss = criterion(net(inputs[batch:batch + 16]), targets[batch:batch + 16])
        loss.backward()
        optimizer.step()
print("loss", loss.item())
