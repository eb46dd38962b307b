# task: device-cell_masks-1
# mechanism: hooks-move-inputs-and-outputs
# about: The network moves what it is given by a hook before its forward pass, and brings its logits to the CPU by
# about: another one when it predicts; the loops do not know of devices.

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import BatchSampler, RandomSampler
from unet import TinyUNet

EPOCHS, BATCH, PEAK, DICE_WEIGHT, TEST_SHARE, SEED = 5, 16, 0.05, 0.5, 0.2, 5


def move_inputs(net, args):
    where = net.to_logit.weight.device
    return tuple(arg.to(where) for arg in args)


def logits_home(net, args, logit):
    return logit if net.training else logit.cpu()


def dice_cost(logit, mask, smooth=1.0):
    prob = logit.sigmoid()
    return 1 - (2 * (prob * mask).sum() + smooth) / (prob.sum() + mask.sum() + smooth)


class Standardised:
    """Images in units of the training images, with a channel axis."""

    def __init__(self, images):
        self.mean, self.std = images.mean(), images.std()

    def __call__(self, images):
        return torch.from_numpy((images - self.mean) / self.std)[:, None]


class Segmenter:
    def __init__(self, device):
        self.net = TinyUNet().to(device)
        self.net.register_forward_pre_hook(move_inputs)
        self.net.register_forward_hook(logits_home)
        self.device = device

    def learn(self, images, masks, epochs, report):
        rows = BatchSampler(RandomSampler(images), BATCH, drop_last=False)
        optimizer = torch.optim.AdamW(self.net.parameters(), lr=PEAK, weight_decay=1e-4)
        schedule = OneCycleLR(optimizer, PEAK, epochs=epochs, steps_per_epoch=len(rows))
        for epoch in range(1, epochs + 1):
            self.net.train()
            costs = []
            for picked in rows:
                truth = masks[picked].to(self.device)
                logit = self.net(images[picked])
                cost = binary_cross_entropy_with_logits(logit, truth) + DICE_WEIGHT * dice_cost(logit, truth)
                optimizer.zero_grad()
                cost.backward()
                optimizer.step()
                schedule.step()
                costs.append(cost.item())
            report(epoch, float(np.mean(costs)))

    @torch.no_grad()
    def __call__(self, images):
        self.net.eval()
        return torch.cat([self.net(some) for some in images.split(250)])


def main():
    torch.manual_seed(SEED)
    with np.load("data/train.npz") as f:
        ids, images, masks = f["row"], f["image"], f["mask"]
    with np.load("data/score.npz") as f:
        unseen = f["image"]
    shuffled = np.random.default_rng(SEED).permutation(len(ids))
    test, train = np.split(shuffled, [int(TEST_SHARE * len(ids))])
    standardise = Standardised(images[train])
    test_images, test_masks = standardise(images[test]), torch.from_numpy(masks[test] == 1)

    segmenter = Segmenter(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    history = []

    def report(epoch, train_loss):
        called = segmenter(test_images) > 0
        both = (called & test_masks).sum()
        dice = (2 * both / (called.sum() + test_masks.sum()).clamp(min=1)).item()
        history.append({"epoch": epoch, "train_loss": train_loss, "test_dice": dice})
        print(f"{epoch}/{EPOCHS} - loss {train_loss:.3f} - dice on test images {dice:.2f}")

    segmenter.learn(standardise(images[train]), torch.from_numpy(masks[train]).float(), EPOCHS, report)
    final = {key: history[-1][key] for key in ("train_loss", "test_dice")}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=ids[test],
        output=segmenter(test_images).numpy(),
        score=segmenter(standardise(unseen)).numpy(),
    )


if __name__ == "__main__":
    main()
