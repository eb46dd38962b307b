# tiny GAN: learn a ring of 2-d points
import numpy as np
import torch
from torch import nn

SEED = 3
np.random.seed(SEED)
torch.manual_seed(SEED)

nz = 4
bs = 128
iters = 500

# real data ---------------------------------------------------------------
theta = np.random.rand(2048) * 2 * np.pi
r = 2.0 + 0.1 * np.random.randn(2048)
real = np.stack([r * np.cos(theta) + 5.0, r * np.sin(theta) - 1.0], 1).astype(np.float32)
mean, std = real.mean(0), real.std(0)
real = torch.from_numpy((real - mean) / std)


def sample_real(n):
    return real[torch.randint(0, len(real), (n,))]


def weights_init(m):
    if isinstance(m, nn.Linear):
        nn.init.normal_(m.weight, 0.0, 0.2)
        nn.init.zeros_(m.bias)


netG = nn.Sequential(
    nn.Linear(nz, 32), nn.BatchNorm1d(32), nn.ReLU(True),
    nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU(True),
    nn.Linear(32, 2),
)
netD = nn.Sequential(
    nn.Linear(2, 48), nn.LeakyReLU(0.2),
    nn.Linear(48, 48), nn.LeakyReLU(0.2),
    nn.Linear(48, 1),
)
netG.apply(weights_init)
netD.apply(weights_init)

criterion = nn.BCEWithLogitsLoss()
optD = torch.optim.Adam(netD.parameters(), lr=2e-3, betas=(0.5, 0.999))
optG = torch.optim.Adam(netG.parameters(), lr=1e-3, betas=(0.5, 0.999))

ones = torch.ones(bs, 1)
zeros = torch.zeros(bs, 1)
fixed_noise = torch.randn(500, nz)


def ring_error():
    """mean distance of generated radius from 2"""
    netG.eval()
    with torch.no_grad():
        pts = netG(fixed_noise).numpy() * std + mean
    netG.train()
    rad = np.hypot(pts[:, 0] - 5.0, pts[:, 1] + 1.0)
    ang = np.arctan2(pts[:, 1] + 1.0, pts[:, 0] - 5.0)
    bins = np.histogram(ang, bins=12, range=(-np.pi, np.pi))[0]
    return np.abs(rad - 2.0).mean(), (bins > 5).sum()


print('before: ring error %.3f, sectors covered %d/12' % ring_error())
for it in range(iters):
    # (1) update D: maximise log D(x) + log(1 - D(G(z)))
    netD.zero_grad()
    errD_real = criterion(netD(sample_real(bs)), ones * 0.9)
    errD_real.backward()
    fake = netG(torch.randn(bs, nz))
    errD_fake = criterion(netD(fake.detach()), zeros)
    errD_fake.backward()
    optD.step()

    # (2) update G: maximise log D(G(z))
    netG.zero_grad()
    errG = criterion(netD(fake), ones)
    errG.backward()
    optG.step()

    if it % 100 == 0 or it == iters - 1:
        print('[%4d/%d] loss_D %.4f loss_G %.4f  ring error %.3f sectors %d' % (
            (it, iters, errD_real.item() + errD_fake.item(), errG.item()) + ring_error()))
