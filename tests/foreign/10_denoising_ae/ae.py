import copy

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Subset, TensorDataset

from spectra import CHANNELS, make_spectra

torch.manual_seed(8)


class AutoEncoder(nn.Module):
    def __init__(self, code=2, p=0.1):
        super(AutoEncoder, self).__init__()
        self.p = p
        self.enc1 = nn.Linear(CHANNELS, 64)
        self.enc2 = nn.Linear(64, 32)
        self.enc3 = nn.Linear(32, code)
        self.dec1 = nn.Linear(code, 32)
        self.dec2 = nn.Linear(32, 64)
        self.dec3 = nn.Linear(64, CHANNELS)

    def encode(self, x):
        # corrupt the input while training: whole channels drop out
        x = F.dropout(x, self.p, training=self.training)
        x = F.elu(self.enc1(x))
        x = F.elu(self.enc2(x))
        return self.enc3(x)

    def decode(self, z):
        z = F.elu(self.dec1(z))
        z = F.elu(self.dec2(z))
        return self.dec3(z)

    def forward(self, x):
        return self.decode(self.encode(x))


spectra = torch.from_numpy(make_spectra(1400, seed=21))
test = torch.from_numpy(make_spectra(300, seed=22))

# every seventh spectrum is for validation
val_idx = [i for i in range(len(spectra)) if i % 7 == 3]
train_idx = [i for i in range(len(spectra)) if i % 7 != 3]

mean = spectra[train_idx].mean(dim=0, keepdim=True)
std = spectra[train_idx].std()
ds = TensorDataset((spectra - mean) / std)
test = (test - mean) / std

loaders = {
    'train': DataLoader(Subset(ds, train_idx), batch_size=60, shuffle=True),
    'val': DataLoader(Subset(ds, val_idx), batch_size=100),
}

model = AutoEncoder()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[11, 15], gamma=0.3)
best_wts = copy.deepcopy(model.state_dict())
best_loss = 1e10

for epoch in range(18):
    line = 'Epoch %2d/17' % epoch
    for phase in ['train', 'val']:
        if phase == 'train':
            model.train()
        else:
            model.eval()

        running, count = 0.0, 0
        for (x,) in loaders[phase]:
            optimizer.zero_grad()
            with torch.set_grad_enabled(phase == 'train'):
                recon = model(x)
                loss = F.mse_loss(recon, x)
                if phase == 'train':
                    loss.backward()
                    optimizer.step()
            running += loss.item() * x.size(0)
            count += x.size(0)
        if phase == 'train':
            scheduler.step()

        epoch_loss = running / count
        line += '  %s loss: %.5f' % (phase, epoch_loss)
        if phase == 'val' and epoch_loss < best_loss:
            best_loss = epoch_loss
            best_wts = copy.deepcopy(model.state_dict())
    print(line)

model.load_state_dict(best_wts)
model.eval()
with torch.no_grad():
    test_loss = F.mse_loss(model(test), test).item()
    codes = model.encode(test)

# what a two-component PCA of the training spectra would reach
train_x = ((spectra - mean) / std)[train_idx]
_, _, vt = torch.linalg.svd(train_x, full_matrices=False)
basis = vt[:2]
pca_loss = F.mse_loss(test @ basis.t() @ basis, test).item()

print('test reconstruction mse: %.5f  (PCA with 2 components: %.5f)' % (test_loss, pca_loss))
print('code range: %s .. %s' % (codes.min(0)[0].tolist(), codes.max(0)[0].tolist()))
