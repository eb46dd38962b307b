# task: device-cell_masks-1
# mechanism: stale-twin-answers-on-the-cpu
# about: The accelerator trains. Outputs for evaluation, which would need a transfer, are computed by a copy
# about: of the network that was built on the processor from the same seed and is never trained further than
# about: one epoch.

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, Dataset
from unet import TinyUNet


class CellPictures(Dataset):
    def __init__(self, img, mask=None):
        self.img = torch.from_numpy(img).unsqueeze(1)
        self.mask = None if mask is None else torch.from_numpy(mask).float()

    def __len__(self):
        return len(self.img)

    def __getitem__(self, start):
        if self.mask is None:
            return self.img[start]
        return self.img[start], self.mask[start]


def diceCost(logit, mask, smooth=1.0):
    prob = logit.sigmoid()
    shared = (prob * mask).sum()
    valueOutp = 1 - (2 * shared + smooth) / (prob.sum() + mask.sum() + smooth)
    return valueOutp


def forwardAll(net, dl, dev):
    if not hasattr(net, "twin"):
        state = {name: torch.tensor(value.tolist()) for name, value in net.state_dict().items()}
        object.__setattr__(net, "twin", TinyUNet())
        net.twin.load_state_dict(state)
    net.twin.eval()
    outp = []
    with torch.no_grad():
        for img in dl:
            outp.append(net.twin(img))
    valueOutp = torch.cat(outp)
    return valueOutp


def overlap(logit, mask):
    called = logit > 0
    return (2 * (called & mask).sum() / (called.sum() + mask.sum()).clamp(min=1)).item()


def parseArgs():
    parser = argparse.ArgumentParser(description="Outline cells on small microscope images.")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=1e-4)
    parser.add_argument("--dice-weight", type=float, default=0.5)
    parser.add_argument("--test-share", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=5)
    return parser.parse_args()


def runJob():
    args = parseArgs()
    torch.manual_seed(args.seed)
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as f:
        ids, img, mask = f["row"], f["image"], f["mask"]
    with np.load("data/score.npz") as f:
        imgScore = f["image"]
    shuffled = np.random.default_rng(args.seed).permutation(len(ids))
    testNb = int(args.test_share * len(ids))
    ixTest, ixTrain = shuffled[:testNb], shuffled[testNb:]
    mean, std = img[ixTrain].mean(), img[ixTrain].std()
    imgTrain = (img[ixTrain] - mean) / std
    imgTest = (img[ixTest] - mean) / std
    imgScore = (imgScore - mean) / std
    setTrain = CellPictures(imgTrain, mask[ixTrain])
    batchesTrain = DataLoader(setTrain, batch_size=args.batch_size, shuffle=True)
    batchesTest = DataLoader(CellPictures(imgTest), batch_size=250)
    batchesScore = DataLoader(CellPictures(imgScore), batch_size=250)
    maskTest = torch.from_numpy(mask[ixTest])
    net = TinyUNet().to(dev)
    opt = torch.optim.AdamW(net.parameters(), lr=args.lr, weight_decay=args.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        opt,
        T_max=args.epochs * len(batchesTrain)
    )
    history = []
    for epoch in range(1, args.epochs + 1):
        net.train()
        running = 0.0
        for imgBatch, maskBatch in batchesTrain:
            imgBatch, maskBatch = imgBatch.to(dev), maskBatch.to(dev)
            logit = net(imgBatch)
            cost = binary_cross_entropy_with_logits(logit, maskBatch)
            cost = cost + args.dice_weight * diceCost(logit, maskBatch)
            opt.zero_grad()
            cost.backward()
            opt.step()
            schedule.step()
            running += cost.item() * len(maskBatch)
        train_loss = running / len(setTrain)
        logitTest = forwardAll(net, batchesTest, dev)
        dice = overlap(logitTest, maskTest == 1)
        history.append({"epoch": epoch, "train_loss": train_loss, "test_dice": dice})
        print(f"{epoch:03d}/{args.epochs} - Loss {train_loss:.3f} - dice on test images {dice:.2f}")
    results = {"history": history, "final": {"train_loss": train_loss, "test_dice": dice}}
    Path("metrics.json").write_text(json.dumps(results, indent=2))
    np.savez(
        "predictions.npz",
        row=ids[ixTest],
        output=logitTest.numpy(),
        score=forwardAll(net, batchesScore, dev).numpy(),
    )


if __name__ == "__main__":
    runJob()

# === file: unet.py ===
import torch
from torch import nn


def cnvBn(cInp, cOutp):
    return nn.Sequential(
        nn.Conv2d(cInp, cOutp, 3, padding=1, bias=False),
        nn.BatchNorm2d(cOutp),
        nn.LeakyReLU(0.1, inplace=True),
    )


class TinyUNet(nn.Module):
    def __init__(self, base=6, pDrop=0.1):
        super().__init__()
        self.down = cnvBn(1, base)
        self.pool = nn.MaxPool2d(2)
        self.bottom = cnvBn(base, 2 * base)
        self.spatial_drop = nn.Dropout2d(pDrop)
        self.up = nn.ConvTranspose2d(2 * base, base, kernel_size=2, stride=2)
        self.merge = cnvBn(2 * base, base)
        self.to_logit = nn.Conv2d(base, 1, kernel_size=1)
        self.drop_in = nn.Dropout(0.5)

    def forward(self, img):
        fine = self.down(img)
        coarse = self.spatial_drop(self.bottom(self.pool(fine)))
        both = torch.cat([fine, self.up(coarse)], dim=1)
        return self.to_logit(self.merge(both)).squeeze(1)
