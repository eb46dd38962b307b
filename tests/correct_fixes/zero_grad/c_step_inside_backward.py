# task: zero_grad-cell_masks-2
# mechanism: optimizer-in-the-backward-pass
# about: Every parameter has an AdamW of its own that steps and clears as soon as its gradient is complete, so no
# about: gradient outlives the backward pass.

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, TensorDataset
from unet import TinyUModel

EPOCHS = 7
BATCH_SIZE = 16
LR = 0.05
SEED = 5


def dice_loss(logit, mask, smooth=1.0):
    prob = logit.sigmoid()
    shared = (prob * mask).sum()
    return 1 - (2 * shared + smooth) / (prob.sum() + mask.sum() + smooth)


def steps_in_backward(model, total_steps):
    """One optimiser and one schedule a parameter; both move when the gradient of it is there."""
    optimizers = {
        parameter: torch.optim.AdamW([parameter], lr=LR, weight_decay=1e-4)
        for parameter in model.parameters()
    }
    schedules = {
        parameter: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=total_steps)
        for parameter, optimizer in optimizers.items()
    }

    def update(parameter):
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()
        schedules[parameter].step()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(update)


@torch.no_grad()
def infer(model, images, dev):
    model.eval()
    return torch.cat([model(some.to(dev)).cpu() for some in images.split(250)])


def main():
    torch.manual_seed(SEED)
    dev = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as archive:
        ids, img, mask = archive["row"], archive["image"], archive["mask"]
    with np.load("data/score.npz") as archive:
        unlabelled = archive["image"]
    row_order = np.random.default_rng(SEED).permutation(len(ids))
    num_test = int(0.2 * len(ids))
    test_pos, train_pos = row_order[:num_test], row_order[num_test:]
    mu, sigma = img[train_pos].mean(), img[train_pos].std()
    train_img, test_img, unlabelled_img = (
        torch.from_numpy((some - mu) / sigma).unsqueeze(1)
        for some in (img[train_pos], img[test_pos], unlabelled)
    )
    train_ds = TensorDataset(train_img, torch.from_numpy(mask[train_pos]).float())
    loader = DataLoader(train_ds, batch_size=BATCH_SIZE, shuffle=True)
    test_mask = torch.from_numpy(mask[test_pos]) == 1

    model = TinyUModel().to(dev)
    steps_in_backward(model, EPOCHS * len(loader))
    history = []
    for epoch in range(1, EPOCHS + 1):
        model.train()
        running = 0.0
        for images, masks in loader:
            masks = masks.to(dev)
            logit = model(images.to(dev))
            cost = binary_cross_entropy_with_logits(logit, masks) + 0.5 * dice_loss(logit, masks)
            cost.backward()
            running += cost.item() * len(masks)
        train_loss = running / len(train_ds)
        test_logit = infer(model, test_img, dev)
        called = test_logit > 0
        dice = (2 * (called & test_mask).sum() / (called.sum() + test_mask.sum()).clamp(min=1)).item()
        history.append({"epoch": epoch, "train_loss": train_loss, "test_dice": dice})
        print(f"{epoch:3d}/{EPOCHS}  loss {train_loss:.4f}  dice on test images {dice:.3f}")

    results = {"history": history, "final": {"train_loss": train_loss, "test_dice": dice}}
    Path("metrics.json").write_text(json.dumps(results, indent=2))
    np.savez(
        "predictions.npz",
        row=ids[test_pos],
        output=test_logit.numpy(),
        score=infer(model, unlabelled_img, dev).numpy(),
    )


if __name__ == "__main__":
    main()
