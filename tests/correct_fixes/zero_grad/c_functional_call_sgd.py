# task: zero_grad-keyword_audio-1
# mechanism: parameters-as-plain-tensors
# about: Weights are a dictionary of tensors beside the module, gradients are return values that nothing accumulates,
# about: and Nesterov's update is written out.

"""Training script."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from model import KeywordNet
from torch.func import functional_call
from torch.nn.functional import cross_entropy

hp = SimpleNamespace(seed=5, test_part=0.2, shift=4, batch=32, epochs=7, peak=0.06, momentum=0.9, decay=1e-3)


def rate(step, steps, warm=0.3):
    """A cosine up to the peak, and a longer one down."""
    at = step / steps
    up = at / warm if at < warm else (1 - at) / (1 - warm)
    return hp.peak * (0.04 + 0.96 * (1 - np.cos(np.pi * up)) / 2)


def shifted(audio):
    """Each clip rolled by a few samples of its own."""
    by = torch.randint(-hp.shift, hp.shift + 1, (len(audio), 1), device=audio.device)
    at = (torch.arange(audio.size(1), device=audio.device) - by) % audio.size(1)
    return audio.gather(1, at)


class Learner:
    def __init__(self, net):
        self.net = net
        self.weights = {name: weight.detach().clone() for name, weight in net.named_parameters()}
        self.buffers = dict(net.named_buffers())
        self.velocity = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}

    def logits(self, audio, learning):
        self.net.train(learning)
        return functional_call(self.net, (self.weights, self.buffers), (audio,))

    def step(self, audio, keyword, lr):
        for weight in self.weights.values():
            weight.requires_grad_(True)
        loss = cross_entropy(self.logits(audio, learning=True), keyword)
        grads = torch.autograd.grad(loss, list(self.weights.values()))
        with torch.no_grad():
            for (name, weight), grad in zip(self.weights.items(), grads, strict=True):
                grad = grad + hp.decay * weight
                self.velocity[name].mul_(hp.momentum).add_(grad)
                self.weights[name] = weight - lr * (grad + hp.momentum * self.velocity[name])
        return loss.item()

    @torch.no_grad()
    def listen(self, audio, device):
        parts = torch.from_numpy(audio).split(400)
        return torch.cat([self.logits(part.to(device), learning=False).cpu() for part in parts]).numpy()


def main():
    torch.manual_seed(hp.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with np.load("data/train.npz") as known:
        clip_id, audio, keyword = known["clip"], known["audio"], known["keyword"]
    with np.load("data/score.npz") as unknown:
        unknown_audio = unknown["audio"]
    order = np.random.RandomState(hp.seed).permutation(len(clip_id))
    train_idx, test_idx = np.split(order, [int(len(order) * (1 - hp.test_part))])

    clips = torch.from_numpy(audio[train_idx]).to(device)
    words = torch.from_numpy(keyword[train_idx]).to(device)
    level = audio[train_idx].mean(axis=(0, 1), keepdims=True)
    loudness = audio[train_idx].std(axis=(0, 1), keepdims=True)
    learner = Learner(KeywordNet(level, loudness, audio.shape[1], int(words.max()) + 1).to(device))

    per_epoch = len(clips) // hp.batch
    history, step = [], 0
    for epoch in range(1, hp.epochs + 1):
        losses = []
        drawn = torch.randperm(len(clips))[: per_epoch * hp.batch].view(per_epoch, hp.batch)
        for picked in drawn.to(device):
            lr = rate(step, per_epoch * hp.epochs)
            losses.append(learner.step(shifted(clips[picked]), words[picked], lr))
            step += 1
        test_logits = learner.listen(audio[test_idx], device)
        hits = float((test_logits.argmax(axis=1) == keyword[test_idx]).mean())
        history.append({"epoch": epoch, "train_loss": float(np.mean(losses)), "test_hits": hits})
        print(f"{epoch}/{hp.epochs}: {history[-1]['train_loss']:.2f}, {hits:.1%} of test clips recognised")

    final = {"train_loss": history[-1]["train_loss"], "test_hits": hits}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}, indent=2))
    np.savez(
        "predictions.npz",
        row=clip_id[test_idx],
        output=test_logits,
        score=learner.listen(unknown_audio, device),
    )


if __name__ == "__main__":
    main()
