"""The checker is itself checked: clean jobs are healthy, hand-made faults of every class are seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mldebug.clean_scripts.library import load_job, sources

from ..jobs import each_job

Replacements = tuple[tuple[str, str, str], ...]


def changed(script: str, replacements: Replacements) -> dict[str, str]:
    """The job's sources with each text, which must occur exactly once, replaced."""
    files = dict(sources(script))
    for path, old, new in replacements:
        assert files[path].count(old) == 1, f"{old!r} in {script}/{path}"
        files[path] = files[path].replace(old, new)
    return files


def judged(
    checker: Any, script: str, bugs: tuple[str, ...], *edits: tuple[str, str, str], **options: Any
) -> Any:
    reference = dict(sources(script))
    return checker.judge(
        changed(script, edits),
        reference,
        load_job(script).entrypoint,
        script,
        options.get("device", "cpu"),
        bugs,
        options.get("seed", 4021),
    )


@each_job("script", __name__)
@pytest.mark.parametrize(("device", "seed"), [("cpu", 310), ("cpu", 88_001), ("cuda", 310)])
def test_clean_jobs_are_healthy(
    checker: Any, checker_module: Any, script: str, device: str, seed: int
) -> None:
    verdict = judged(checker, script, checker_module.CLASSES, device=device, seed=seed)
    assert verdict.healthy and not verdict.broken, verdict
    assert set(verdict.per_bug.values()) == {None}


SILENT = {
    "zero_grad removed": (
        "tabular_classifier",
        "gradient_not_zeroed",
        "steps used more than",
        (("train.py", "        optimizer.zero_grad()\n", ""),),
    ),
    "zero_grad once an epoch": (
        "glyph_cnn",
        "gradient_not_zeroed",
        "steps used more than",
        (
            ("train.py", "        optimizer.zero_grad()\n", ""),
            ("train.py", "    total_loss = 0.0\n", "    total_loss = 0.0\n    optimizer.zero_grad()\n"),
        ),
    ),
    "zero_grad behind clipping": (
        "machine_gru",
        "gradient_not_zeroed",
        "steps used more than",
        (
            ("train.py", "        optimizer.zero_grad(set_to_none=True)\n", ""),
            ("train.py", "grad_clip = 10.0", "grad_clip = 0.5"),
        ),
    ),
    "zero_grad between backward and step": (
        "machine_gru",
        "gradient_not_zeroed",
        "thrown away",
        (
            ("train.py", "        optimizer.zero_grad(set_to_none=True)\n", ""),
            (
                "train.py",
                "        optimizer.step()\n",
                "        optimizer.zero_grad()\n        optimizer.step()\n",
            ),
        ),
    ),
    "scaled by all rows": (
        "tabular_classifier",
        "data_leakage",
        "training losses changed",
        (("train.py", "features[train_rows].mean(axis=0)", "features.mean(axis=0)"),),
    ),
    "trained on held-out rows": (
        "glyph_cnn",
        "data_leakage",
        "training losses changed",
        (("train.py", "return order[n_test:], order[:n_test]", "return order, order[:n_test]"),),
    ),
    "target scaled by all rows": (
        "machine_gru",
        "data_leakage",
        "training losses changed",
        (("train.py", "y_std = float(wear[train_ix].std())", "y_std = float(wear.std())"),),
    ),
    "best epoch by the test rows": (
        "machine_gru",
        "data_leakage",
        "changed with",
        (
            (
                "train.py",
                "criterion(predict(model, x_val), y_val)",
                "criterion(predict(model, x_test), y_test)",
            ),
        ),
    ),
    "no eval()": (
        "tabular_classifier",
        "missing_eval_mode",
        "batch_norm",
        (("train.py", "    model.eval()\n", ""),),
    ),
    "functional dropout always on": (
        "machine_gru",
        "missing_eval_mode",
        "dropout",
        (("train.py", ", training=self.training", ""),),
    ),
    "train() instead of eval(), gradients on": (
        "glyph_cnn",
        "missing_eval_mode",
        "batch_norm",
        (
            (
                "train.py",
                "    model.eval()\n    with torch.no_grad():\n",
                "    model.train()\n    if True:\n",
            ),
            ("train.py", "return torch.cat(logits)", "return torch.cat(logits).detach()"),
        ),
    ),
    "learning rate far too low": (
        "tabular_classifier",
        "training_collapse",
        "below the floor",
        (("train.py", "learning_rate: float = 5e-3", "learning_rate: float = 5e-7"),),
    ),
    "loss of the wrong sign": (
        "machine_gru",
        "training_collapse",
        "below the floor",
        (
            (
                "train.py",
                "        loss = criterion(prediction, yb)",
                "        loss = -criterion(prediction, yb)",
            ),
        ),
    ),
    "outputs that are no numbers": (
        "ad_clicks",
        "training_collapse",
        "below the floor",
        (
            (
                "train.py",
                "        loss.backward()\n",
                '        loss = loss * float("nan")\n        loss.backward()\n',
            ),
        ),
    ),
    "prediction keeps an axis": (
        "machine_gru",
        "shape_mismatch",
        "shapes differ in mse_loss",
        (
            ("train.py", "return self.head(last).squeeze(-1)", "return self.head(last)"),
            (
                "train.py",
                "return torch.cat([model(part) for",
                "return torch.cat([model(part).squeeze(-1) for",
            ),
        ),
    ),
}


@pytest.mark.parametrize("fault", SILENT)
def test_silent_faults_are_seen(checker: Any, fault: str) -> None:
    script, bug, sign, edits = SILENT[fault]
    verdict = judged(checker, script, (bug,), *edits)
    assert verdict.broken and not verdict.healthy, verdict
    assert sign in verdict.per_bug[bug], verdict


@pytest.mark.parametrize(
    ("script", "device", "bug", "edit"),
    [
        ("tabular_classifier", "cpu", "shape_mismatch", ("train.py", "(hidden, hidden)", "(9, 9)")),
        ("glyph_cnn", "cpu", "shape_mismatch", ("train.py", ".unsqueeze(1)", "")),
        ("glyph_cnn", "cuda", "wrong_device", ("train.py", "(num_classes).to(device)", "(num_classes)")),
        ("machine_gru", "cuda", "wrong_device", ("train.py", ", device=x.device", "")),
        ("glyph_cnn", "cuda", "wrong_device", ("train.py", "test_images).cpu()", "test_images)")),
    ],
)  # fmt: skip
def test_crashes_are_told_apart(
    checker: Any, checker_module: Any, script: str, device: str, bug: str, edit: tuple[str, str, str]
) -> None:
    verdict = judged(checker, script, checker_module.CLASSES, edit, device=device)
    assert verdict.broken and not verdict.healthy, verdict
    assert [name for name, sign in verdict.per_bug.items() if sign] == [bug], verdict


def test_work_that_never_reaches_the_accelerator_is_seen(checker: Any) -> None:
    choice = 'torch.device("cuda" if torch.cuda.is_available() else "cpu")'
    verdict = judged(
        checker,
        "tabular_classifier",
        ("wrong_device",),
        ("train.py", choice, 'torch.device("cpu")'),
        device="cuda",
    )
    assert verdict.broken and not verdict.healthy, verdict
    assert "steps off the accelerator (reference: 0)" in verdict.per_bug["wrong_device"]


def test_a_crash_of_another_kind_is_neither_broken_nor_healthy(checker: Any, checker_module: Any) -> None:
    edit = ("train.py", "def main():\n", "def main():\n    undefined_name\n")
    verdict = judged(checker, "tabular_classifier", checker_module.CLASSES, edit)
    assert not verdict.broken and not verdict.healthy
    assert "NameError" in verdict.notes


def test_a_hidden_class_does_not_unsay_a_visible_one(checker: Any) -> None:
    """A leak behind a crash cannot be seen; the crash alone makes the compound broken."""
    verdict = judged(
        checker,
        "tabular_classifier",
        ("data_leakage", "shape_mismatch"),
        ("train.py", "features[train_rows].mean(axis=0)", "features.mean(axis=0)"),
        ("train.py", "nn.Linear(hidden, hidden)", "nn.Linear(9, 9)"),
    )
    assert verdict.broken and verdict.per_bug["shape_mismatch"] and not verdict.per_bug["data_leakage"]


def test_two_silent_classes_are_both_seen(checker: Any) -> None:
    verdict = judged(
        checker,
        "tabular_classifier",
        ("data_leakage", "missing_eval_mode"),
        ("train.py", "features[train_rows].mean(axis=0)", "features.mean(axis=0)"),
        ("train.py", "    model.eval()\n", ""),
    )
    assert verdict.broken and all(verdict.per_bug.values()), verdict


HONEST = {
    "accumulated over two batches": (
        (
            "train.py",
            "    for features, labels in loader:\n",
            "    for k, (features, labels) in enumerate(loader):\n",
        ),
        ("train.py", "        optimizer.zero_grad()\n", ""),
        (
            "train.py",
            "        optimizer.step()\n",
            "        if k % 2:\n            optimizer.step()\n            optimizer.zero_grad()\n",
        ),
    ),
    "a first pass whose gradients are cleared": (
        (
            "train.py",
            "        optimizer.zero_grad()\n",
            "        criterion(model(features), labels).backward()\n        optimizer.zero_grad()\n",
        ),
    ),
    "clipped by value": (
        (
            "train.py",
            "        loss.backward()\n",
            "        loss.backward()\n        nn.utils.clip_grad_value_(model.parameters(), 0.01)\n",
        ),
    ),
}


@pytest.mark.parametrize("way", HONEST)
def test_honest_ways_to_clear_gradients_are_no_sign(checker: Any, way: str) -> None:
    verdict = judged(checker, "tabular_classifier", ("gradient_not_zeroed",), *HONEST[way])
    assert not verdict.broken, verdict


def test_unknown_classes_are_refused(checker: Any) -> None:
    with pytest.raises(ValueError, match="unknown bug classes"):
        judged(checker, "tabular_classifier", ("tiredness",))


def test_a_job_that_never_ends_is_stopped_with_its_children(
    checker_module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's limit is a constant of its module; here it is shortened in a worker of its own."""
    spin = {"train.py": "while True:\n    pass\n"}
    monkeypatch.setenv("MLDEBUG_CHECKER_LIMIT", "0.5")
    with checker_module.Checker() as impatient:
        verdict = impatient.judge(
            spin, spin, "train.py", "tabular_classifier", "cpu", ("training_collapse",), 1
        )
    assert not verdict.broken and not verdict.healthy
    assert "stopped after" in verdict.notes


def test_alterations_stay_with_the_held_out_rows(checker_module: Any) -> None:
    spec = load_job("machine_gru")
    data = spec.generate(5)
    held_out = data.train["row"][::7]
    at = np.isin(data.train["row"], held_out)
    moved = checker_module._moved(spec, data, held_out)
    turned = checker_module._turned(spec, data, held_out, np.arange(len(data.score_labels))[::-1])
    for name in ("row", "window", "wear"):
        assert np.array_equal(moved.train[name][~at], data.train[name][~at])
        assert np.array_equal(turned.train[name][~at], data.train[name][~at])
    assert (moved.train["window"][at] != data.train["window"][at]).mean() > 0.99
    assert np.array_equal(turned.train["window"], data.train["window"])
    assert (turned.train["wear"][at] != data.train["wear"][at]).mean() > 0.99
    assert np.array_equal(turned.score["window"], data.score["window"][::-1])
