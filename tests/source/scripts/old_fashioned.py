# a small net on made-up blobs, the way people wrote it in 2017
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

torch.manual_seed(3)
N, D = 240, 6
centers = torch.randn(3, D) * 2
labels = torch.randint(0, 3, (N,))
points = centers[labels] + torch.randn(N, D)

x_train, y_train = points[:180], labels[:180]
x_test, y_test = points[180:], labels[180:]


class Net(nn.Module):
    def __init__(self):
        super(Net, self).__init__()
        self.fc1 = nn.Linear(6, 24)
        self.drop = nn.Dropout(0.3)
        self.fc2 = nn.Linear(24, 3)

    def forward(self, x):
        x = F.relu(self.fc1(x))
        x = self.drop(x)
        return self.fc2(x)


net = Net().cuda()
criterion = nn.CrossEntropyLoss()
optimizer = optim.Adam(net.parameters(), lr=0.01)

for epoch in range(12):
    net.train()
    for i in range(0, len(x_train), 30):
        xb = x_train[i:i + 30].cuda()
        yb = y_train[i:i + 30].cuda()
        optimizer.zero_grad()
        out = net(xb)
        loss = criterion(out, yb)
        loss.backward()
        optimizer.step()

    net.eval()
    correct = 0
    with torch.no_grad():
        for i in range(0, len(x_test), 20):
            out = net(x_test[i:i + 20].cuda())
            correct += (out.argmax(1).cpu() == y_test[i:i + 20]).sum().item()
    print("epoch %d  loss %.3f  acc %.2f" % (epoch, loss.item(), correct / len(x_test)))

torch.save(net.state_dict(), "net.pt")
