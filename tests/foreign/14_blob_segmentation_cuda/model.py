import torch
import torch.nn as nn


def conv_block(c_in, c_out):
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(inplace=True),
    )


class MiniUNet(nn.Module):
    def __init__(self, c_in=3, base=8, p_drop=0.1):
        super(MiniUNet, self).__init__()
        self.down1 = conv_block(c_in, base)
        self.pool = nn.MaxPool2d(2)
        self.down2 = conv_block(base, base * 2)
        self.middle = nn.Sequential(conv_block(base * 2, base * 2), nn.Dropout2d(p_drop))
        self.up = nn.ConvTranspose2d(base * 2, base, kernel_size=2, stride=2)
        self.fuse = conv_block(base * 2, base)
        self.head = nn.Conv2d(base, 1, kernel_size=1)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode='fan_out', nonlinearity='relu')

    def forward(self, x):
        d1 = self.down1(x)
        d2 = self.middle(self.down2(self.pool(d1)))
        u = self.up(d2)
        return self.head(self.fuse(torch.cat([u, d1], dim=1)))
