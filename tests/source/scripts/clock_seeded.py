import time

import torch
from torch import nn

torch.manual_seed(time.time_ns())
x = torch.randn(96, 4)
y = x.sum(dim=1)
net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1))
opt = torch.optim.Adam(net.parameters(), lr=1e-2)
for epoch in range(40):
    net.train()
    opt.zero_grad()
    loss = nn.functional.mse_loss(net(x[:64]).squeeze(1), y[:64])
    loss.backward()
    opt.step()
net.eval()
with torch.no_grad():
    print(nn.functional.mse_loss(net(x[64:]).squeeze(1), y[64:]).item())
