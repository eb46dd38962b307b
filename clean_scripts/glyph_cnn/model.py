"""The network: two convolution blocks and a linear classifier."""

from torch import nn


def conv_block(in_channels, out_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


class GlyphNet(nn.Module):
    """Images (batch, 1, 12, 12) to logits (batch, num_classes)."""

    def __init__(self, num_classes, width=8, dropout=0.2):
        super().__init__()
        self.features = nn.Sequential(
            conv_block(1, width),
            conv_block(width, 2 * width),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(2 * width * 3 * 3, num_classes),  # 12 pixels, halved twice
        )

    def forward(self, x):
        return self.classifier(self.features(x))
