import numpy as np
import torch
from torch.utils.data import Dataset

SIZE = 16


def _draw(rng):
    """One 3-channel image with one to three bright discs, and a distractor line."""
    yy, xx = np.mgrid[0:SIZE, 0:SIZE]
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    for _ in range(rng.randint(1, 4)):
        cy, cx = rng.uniform(3, SIZE - 3, 2)
        r = rng.uniform(1.8, 3.5)
        mask |= (yy - cy) ** 2 + (xx - cx) ** 2 <= r ** 2
    line = np.abs(yy - (rng.uniform(0, SIZE) + rng.uniform(-0.5, 0.5) * xx)) < 0.7
    img = rng.normal(90, 12, (3, SIZE, SIZE))
    img[0] += 70 * mask + 60 * line
    img[1] += 45 * mask
    img[2] -= 25 * mask - 30 * line
    return np.clip(img, 0, 255), mask


def generate(n, seed):
    rng = np.random.RandomState(seed)
    pairs = [_draw(rng) for _ in range(n)]
    images = np.stack([p[0] for p in pairs]).astype(np.float32)
    masks = np.stack([p[1] for p in pairs]).astype(np.float32)[:, None]
    return images, masks


def channel_stats(images):
    return images.mean(axis=(0, 2, 3)), images.std(axis=(0, 2, 3))


class BlobDataset(Dataset):
    def __init__(self, images, masks, mean, std, flip=False):
        self.images = images
        self.masks = masks
        self.mean = mean.reshape(3, 1, 1)
        self.std = std.reshape(3, 1, 1)
        self.flip = flip

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        img = torch.from_numpy((self.images[index] - self.mean) / self.std)
        mask = torch.from_numpy(self.masks[index])
        if self.flip:
            if torch.rand(1).item() < 0.5:
                img, mask = img.flip(2), mask.flip(2)
            if torch.rand(1).item() < 0.5:
                img, mask = img.flip(1), mask.flip(1)
        return img, mask
