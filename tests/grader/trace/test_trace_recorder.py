"""The record as a whole: its shape, that watching changes nothing, and that odd scripts break nothing."""

from __future__ import annotations

import copy
import json
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from mldebug.grader.trace import Recorder
from mldebug.grader.trace.losses import MAX_LOSSES, Losses

generator = torch.Generator().manual_seed(4)
ROWS = torch.randn(64, 6, generator=generator)
LABELS = torch.randint(3, (64,), generator=generator)


def observe(program: Callable[[], object]) -> dict:
    with Recorder() as recorder:
        program()
    assert recorder.record is not None
    return recorder.record


def train(model: nn.Module, rows: torch.Tensor, steps: int = 8) -> list[bytes]:
    """Losses and final parameters and buffers, and the state of the random stream, as bytes."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    seen = []
    for _ in range(steps):
        order = torch.randperm(len(rows))[:16]
        optimizer.zero_grad()
        loss = F.cross_entropy(model(rows[order]), LABELS[order])
        loss.backward()
        optimizer.step()
        seen.append(loss)
    state = [*seen, *model.state_dict().values(), torch.get_rng_state()]
    return [value.detach().numpy().tobytes() for value in state]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.GRU(3, 5, num_layers=2, dropout=0.2, batch_first=True)
        self.head = nn.Linear(5, 3)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        states, _ = self.body(rows.reshape(-1, 2, 3))
        return self.head(F.dropout(states[:, -1], 0.2, self.training))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 3))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)),
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Dropout2d(0.2),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


@pytest.mark.parametrize("build", [mlp, Recurrent, cnn])
def test_watching_changes_no_bit(build: Callable[[], nn.Module]) -> None:
    def run() -> list[bytes]:
        torch.manual_seed(9)
        return train(build(), ROWS)

    unwatched = run()
    with Recorder() as recorder:
        watched = run()
    assert watched == unwatched
    assert run() == unwatched
    assert recorder.record is not None
    assert recorder.record["faults"] == []
    seen = recorder.record["train_forwards"]
    assert (seen["calls"], seen["rows"]) == (8, 128)
    assert len(ROWS) / 2 < seen["distinct_rows"] <= len(ROWS)
    assert recorder.record["missing_hooks"] == []
    used = {"steps": 8, "unlike": 0, "looked": 8, "erased": 0, "backwards": 8, "discarded": 0}
    assert recorder.record["used_gradients"] == used


def test_the_record_of_a_small_training() -> None:
    torch.manual_seed(9)
    model = mlp()
    record = observe(lambda: train(model, ROWS))
    assert list(record) == [
        "version",
        "losses",
        "losses_digest",
        "backward_calls",
        "gradient_calls",
        "nonfinite_losses",
        "first_nonfinite",
        "optimizer_steps",
        "optimizers",
        "learning_rates",
        "momentum",
        "mixture",
        "empty_steps",
        "parameters",
        "used_gradients",
        "train_forwards",
        "eval_forwards",
        "devices",
        "loss_shapes",
        "swallowed",
        "faults",
        "missing_hooks",
    ]
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["backward_calls"] == record["optimizer_steps"] == len(record["losses"]) == 8
    assert all(0 < float.fromhex(text) < 10 for text in record["losses"])
    assert record["optimizers"] == ["Adam"]
    assert record["learning_rates"] == {"first": 0.01, "last": 0.01, "max": 0.01}
    assert record["parameters"]["tensors"] == len(list(model.parameters()))
    assert record["parameters"]["elements"] == sum(p.numel() for p in model.parameters())


def test_the_digest_follows_every_bit_of_the_final_parameters() -> None:
    def run(change: float) -> str:
        torch.manual_seed(9)
        model = mlp()
        return observe(lambda: (train(model, ROWS), model[0].weight.data[0, 0].add_(change)))["parameters"][
            "digest"
        ]

    assert run(0.0) == run(0.0)
    assert run(0.0) != run(1e-3)


def test_parameters_of_a_model_that_is_gone_are_still_hashed() -> None:
    def run(keep: Callable[[nn.Module], object]) -> dict:
        torch.manual_seed(9)

        def program() -> None:
            model = mlp()
            train(model, ROWS)
            keep(model)

        return observe(program)["parameters"]

    kept: list[nn.Module] = []
    assert run(id) == run(kept.append)


def test_plain_tensors_trained_by_hand_are_parameters_and_inputs_are_not() -> None:
    def program() -> None:
        weights = torch.zeros(6, requires_grad=True)
        for _ in range(3):
            rows = ROWS.clone().requires_grad_()
            (rows @ weights - 1).pow(2).mean().backward()
            with torch.no_grad():
                weights -= 0.1 * weights.grad
                weights.grad = None

    record = observe(program)
    assert record["parameters"]["tensors"] == 1
    assert record["parameters"]["elements"] == 6
    assert record["mixture"] == {"violations": 0, "first_backward": None, "leaves": 4}


@pytest.mark.parametrize("foreach", [False, True])
def test_nesterovs_share_of_the_momentum_is_no_other_gradient(foreach: bool) -> None:
    """On several tensors at once, as on an accelerator, SGD adds it to the gradients themselves."""

    def program() -> None:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), 1e-2, momentum=0.95, nesterov=True, foreach=foreach)
        for _ in range(4):
            for start in range(0, 64, 8):
                optimizer.zero_grad()
                F.cross_entropy(model(ROWS[start : start + 8]), LABELS[start : start + 8]).backward()
                optimizer.step()

    used = observe(program)["used_gradients"]
    assert used["steps"] > 16 and used["unlike"] == 0


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9, "nesterov": True, "foreach": True}])
@pytest.mark.parametrize("register", ["register_step_pre_hook", "register_step_post_hook"])
def test_gradients_that_a_hook_of_the_optimizer_changes_are_seen(
    register: str, settings: dict[str, object]
) -> None:
    torch.manual_seed(2)
    noise: list[torch.Tensor] = []

    def program() -> None:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, **settings)
        weight = max(model.parameters(), key=torch.numel)

        def change(*_: object) -> None:
            noise.append(torch.randn_like(weight))
            weight.grad.add_(100 * noise[-1])

        getattr(optimizer, register)(change)
        for start in range(0, 64, 8):
            optimizer.zero_grad()
            F.cross_entropy(model(ROWS[start : start + 8]), LABELS[start : start + 8]).backward()
            optimizer.step()

    used = {"steps": 8, "unlike": 8, "looked": 8, "erased": 0, "backwards": 8, "discarded": 0}
    assert observe(program)["used_gradients"] == used
    assert len(noise) == 8


@pytest.mark.parametrize(("part", "erased"), [(None, 0), (0, 8), (-1, 8)])
def test_gradients_that_are_erased_before_the_step_are_counted(part: int | None, erased: int) -> None:
    def program() -> None:
        model = mlp()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for start in range(0, 64, 8):
            optimizer.zero_grad()
            F.cross_entropy(model(ROWS[start : start + 8]), LABELS[start : start + 8]).backward()
            if part is not None:
                model[part].zero_grad()
            optimizer.step()

    assert observe(program)["used_gradients"]["erased"] == erased


def clearing_each(model: nn.Module, optimizer: torch.optim.Optimizer, batch: int) -> None:
    optimizer.zero_grad()


def clearing_before_the_last(model: nn.Module, optimizer: torch.optim.Optimizer, batch: int) -> None:
    if batch % 3 == 2:
        optimizer.zero_grad()


def adding_up_by_hand(model: nn.Module, optimizer: torch.optim.Optimizer, batch: int) -> None:
    for one in model.parameters():
        if one.grad is not None:
            one.kept = one.kept + one.grad if batch % 3 else one.grad.clone()  # type: ignore[attr-defined]
    model.zero_grad()
    if batch % 3 == 2:
        for one in model.parameters():
            one.grad = one.kept  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("before", "after", "discarded"),
    [
        (clearing_each, None, 8),
        (clearing_before_the_last, None, 8),
        (None, adding_up_by_hand, 0),
        (None, None, 0),
    ],
)
def test_gradients_that_no_step_uses_are_counted(before: Any, after: Any, discarded: int) -> None:
    def program() -> None:
        torch.manual_seed(5)
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        for batch in range(12):
            if before is not None:
                before(model, optimizer, batch)
            rows = slice(5 * batch, 5 * batch + 5)
            F.cross_entropy(model(ROWS[rows]), LABELS[rows]).backward()
            if after is not None:
                after(model, optimizer, batch)
            if batch % 3 == 2:
                optimizer.step()
                optimizer.zero_grad()

    used = observe(program)["used_gradients"]
    assert (used["backwards"], used["discarded"], used["erased"]) == (12, discarded, 0)


def test_a_gradient_that_moved_the_model_by_hand_was_used() -> None:
    def program() -> None:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        for start in range(0, 64, 8):
            for looking_ahead in (True, False):  # sharpness-aware: up the slope, then down from there
                optimizer.zero_grad()
                F.cross_entropy(model(ROWS[start : start + 8]), LABELS[start : start + 8]).backward()
                if looking_ahead:
                    for one in model.parameters():
                        one.data += 0.05 * one.grad
            optimizer.step()

    assert observe(program)["used_gradients"]["discarded"] == 0


def test_clearing_what_another_backward_left_erases_nothing() -> None:
    def program() -> None:
        critic, maker = mlp(), nn.Linear(6, 6)
        steps = [torch.optim.SGD(one.parameters(), lr=1e-2) for one in (critic, maker)]
        for start in range(0, 64, 8):
            rows = ROWS[start : start + 8]
            steps[1].zero_grad()
            critic(maker(rows)).mean().backward()
            steps[1].step()
            steps[0].zero_grad()
            critic(rows).mean().backward()
            steps[0].step()

    used = observe(program)["used_gradients"]
    assert used["erased"] == used["discarded"] == 0 and used["looked"] == 16


def test_a_replica_for_each_batch_makes_the_model_no_larger() -> None:
    def program() -> None:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for start in range(0, 64, 8):
            replica = copy.deepcopy(model)
            F.cross_entropy(replica(ROWS[start : start + 8]), LABELS[start : start + 8]).backward()
            for ours, theirs in zip(model.parameters(), replica.parameters(), strict=True):
                ours.grad = theirs.grad
            optimizer.step()

    size = sum(p.numel() for p in mlp().parameters())
    parameters = observe(program)["parameters"]
    assert parameters["elements"] > 8 * size
    assert parameters["stepped"] == parameters["largest"] == size


def test_weights_that_each_step_replaces_have_a_size() -> None:
    def program() -> None:
        weights = torch.zeros(6)
        for _ in range(4):
            held = weights.clone().requires_grad_()
            (gradient,) = torch.autograd.grad((ROWS @ held - 1).pow(2).mean(), held)
            weights = (held - 0.1 * gradient).detach()

    assert observe(program)["parameters"]["largest"] == 6


def test_rows_are_seen_inside_transforms_and_in_arrays() -> None:
    class Takes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = mlp()

        def forward(self, rows):
            return self.inner(torch.as_tensor(rows))

    model = Takes().eval()

    def transformed() -> None:
        weights = dict(model.named_parameters())

        def loss(weights, rows, labels):
            return F.cross_entropy(torch.func.functional_call(model, weights, (rows,)), labels)

        torch.func.grad_and_value(loss)(weights, ROWS, LABELS)

    def array() -> None:
        F.cross_entropy(model(ROWS.numpy()), LABELS).backward()

    def as_list() -> None:
        with torch.no_grad():
            model(ROWS.tolist())

    for program in (transformed, array):
        record = observe(program)
        seen = {"calls": 1, "rows": 64, "distinct_rows": 64, "at_rest": 1}
        assert record["train_forwards"] == seen, program
        assert not record["faults"]
    assert observe(as_list)["eval_forwards"]["rows"] == 64


def test_frozen_and_traced_models() -> None:
    model = mlp().eval()
    frozen = torch.jit.freeze(torch.jit.script(model))

    def evaluate() -> None:
        with torch.no_grad():
            frozen(ROWS)

    def trace() -> None:
        with torch.no_grad():
            traced = torch.jit.trace(model, ROWS[:2])
            assert torch.equal(traced(ROWS), model(ROWS))

    assert observe(evaluate)["eval_forwards"]["rows"] == 64
    record = observe(trace)
    assert json.loads(json.dumps(record)) == record and not record["faults"]


def test_nonfinite_losses_are_text_and_counted() -> None:
    def program() -> None:
        weight = torch.ones(1, requires_grad=True)
        for factor in (1.0, float("inf"), float("nan")):
            (weight * factor).sum().backward()

    record = observe(program)
    assert record["losses"] == [(1.0).hex(), "inf", "nan"]
    assert (record["nonfinite_losses"], record["first_nonfinite"]) == (2, 1)
    json.dumps(record, allow_nan=False)


def test_a_nonfinite_learning_rate_is_text() -> None:
    def program() -> None:
        weight = nn.Parameter(torch.ones(1))
        optimizer = torch.optim.SGD([weight], lr=0.5)
        for rate in (0.5, float("inf")):
            optimizer.param_groups[0]["lr"] = rate
            weight.sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    assert observe(program)["learning_rates"] == {"first": 0.5, "last": "inf", "max": "inf"}


def test_losses_are_listed_up_to_the_bound_and_digested_beyond() -> None:
    exact, longer = Losses(), Losses()
    for _ in range(MAX_LOSSES):
        exact.add(0.5)
        longer.add(0.5)
    assert exact.digest() == longer.digest()
    longer.add(0.5)
    assert len(longer.listed) == MAX_LOSSES
    assert longer.count == MAX_LOSSES + 1
    assert exact.digest() != longer.digest()


@pytest.mark.parametrize("loss", ["mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss"])
def test_broadcast_losses_are_noted(loss: str) -> None:
    def program() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(F, loss)(ROWS[:, :1], ROWS[:, 0])
        getattr(F, loss)(ROWS, ROWS)
        getattr(F, loss)(ROWS, torch.tensor(0.0).expand(64, 6))

    assert observe(program)["loss_shapes"] == {
        "mismatched": 1,
        "first": {"function": loss, "input": [64, 1], "target": [64]},
    }


def test_broadcast_in_a_loss_module_is_noted() -> None:
    def program() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nn.MSELoss()(ROWS[:, :1], target=ROWS[:, 0])

    assert observe(program)["loss_shapes"]["mismatched"] == 1


def test_a_subclassed_step_is_one_step() -> None:
    class Counting(torch.optim.SGD):
        def step(self, closure: object = None) -> object:
            return super().step(closure)

    def program() -> None:
        model = nn.Linear(6, 1)
        optimizer = Counting(model.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            model(ROWS).sum().backward()
            optimizer.step()

    record = observe(program)
    assert (record["optimizer_steps"], record["empty_steps"]) == (3, 0)
    assert record["optimizers"] == ["Counting"]


def test_a_step_that_raises_does_not_hide_later_ones() -> None:
    def program() -> None:
        model = nn.Linear(6, 1)
        optimizer = torch.optim.LBFGS(model.parameters())

        def bad() -> torch.Tensor:
            raise ValueError("no loss today")

        def good() -> torch.Tensor:
            optimizer.zero_grad()
            loss = model(ROWS).pow(2).mean()
            loss.backward()
            return loss

        with pytest.raises(ValueError, match="no loss today"):
            optimizer.step(bad)
        optimizer.step(good)

    assert observe(program)["optimizer_steps"] == 1


def test_everything_is_put_back() -> None:
    names = [(torch.autograd, "_engine_run_backward"), (F, "dropout"), (torch, "batch_norm")]
    names += [(torch.jit, "script"), (nn.Module, "zero_grad"), (torch.optim.Optimizer, "zero_grad")]
    before = [getattr(owner, name) for owner, name in names]
    with Recorder():
        during = [getattr(owner, name) for owner, name in names]
    assert [getattr(owner, name) for owner, name in names] == before
    assert all(one is not other for one, other in zip(before, during, strict=True))


def test_a_function_kept_after_the_end_still_works_and_is_not_recorded() -> None:
    with Recorder() as recorder:
        kept = F.dropout
    assert torch.equal(kept(ROWS, 0.5, False), ROWS)
    assert recorder.record is not None
    assert recorder.record["eval_forwards"]["noisy_calls"] == 0


def test_a_recorder_is_used_once() -> None:
    recorder = Recorder()
    with pytest.raises(RuntimeError, match="never started"):
        recorder.stop()
    recorder.start()
    assert recorder.stop() is recorder.stop()
    with pytest.raises(RuntimeError, match="started before"):
        recorder.start()


def test_a_failure_inside_a_hook_is_a_fault_and_no_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()

    def broken(*args: object, **options: object) -> None:
        raise ZeroDivisionError("internal")

    monkeypatch.setattr(recorder._mixture, "accumulate", broken)
    monkeypatch.setattr(recorder._forwards, "classify", broken)
    monkeypatch.setattr(recorder._shapes, "compare", broken)
    with recorder:
        train(mlp(), ROWS, steps=3)
        F.mse_loss(ROWS, ROWS)
    assert recorder.record is not None
    assert recorder.record["faults"] == [
        "after forward: ZeroDivisionError: internal",
        "engine: ZeroDivisionError: internal",
        "mse_loss: ZeroDivisionError: internal",
    ]


def test_errors_of_the_script_arrive_unchanged() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            self.size = 3

    def message(program: Callable[[], object]) -> str:
        with pytest.raises(Exception) as caught:
            program()
        return f"{type(caught.value)}: {caught.value}"

    programs: list[Callable[[], object]] = [
        lambda: Bare()(ROWS),
        lambda: nn.Linear(3, 2)(ROWS),
        lambda: F.dropout(ROWS, 2.0),
        lambda: F.mse_loss(ROWS),
        lambda: F.mse_loss("a", "b"),
        lambda: torch.autograd.backward("x"),
        lambda: torch.ones(2, requires_grad=True).backward(),
    ]
    unwatched = [message(program) for program in programs]
    watched: list[str] = []
    record = observe(lambda: watched.extend(message(program) for program in programs))
    assert watched == unwatched
    assert record["faults"] == []


def test_loader_workers_and_threads() -> None:
    def program() -> None:
        model = nn.Linear(6, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for rows, labels in DataLoader(TensorDataset(ROWS, LABELS), batch_size=32, num_workers=1):
            optimizer.zero_grad()
            F.cross_entropy(model(rows), labels).backward()
            optimizer.step()
        thread = threading.Thread(target=lambda: model(ROWS).sum().item())
        thread.start()
        thread.join()

    record = observe(program)
    assert record["faults"] == []
    assert (record["optimizer_steps"], record["train_forwards"]["rows"]) == (2, 64)
    assert record["eval_forwards"]["calls"] == 1


def test_vmap_and_scripting_work() -> None:
    def program() -> None:
        model = nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.5)).eval()
        with torch.no_grad():
            assert torch.vmap(model)(ROWS).shape == (64, 3)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert torch.jit.script(model)(ROWS).shape == (64, 3)

    assert observe(program)["faults"] == []


def test_an_output_can_be_saved_without_a_warning(tmp_path: object) -> None:
    def program() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            torch.save(nn.Linear(6, 1)(ROWS), f"{tmp_path}/output.pt")

    assert observe(program)["faults"] == []


@contextmanager
def pretended_accelerator(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A dispatch mode that notes what it sees, and tensors that claim to be elsewhere and refuse numpy."""
    seen: list[str] = []

    class Noting(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    def refuse(*args: object, **kwargs: object) -> None:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    with monkeypatch.context() as patch, Noting():
        for name in ("numpy", "__array__", "cpu", "to"):
            patch.setattr(torch.Tensor, name, refuse, raising=False)
        patch.setattr(torch.Tensor, "is_cuda", property(lambda tensor: True), raising=False)
        yield seen


def accelerated() -> None:
    model = nn.Linear(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for index in range(4):
        if index != 2:
            optimizer.zero_grad()
        F.cross_entropy(model(ROWS), LABELS).backward()
        optimizer.step()
    with torch.no_grad():
        model(ROWS)


def test_under_a_simulated_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(9)
    with pretended_accelerator(monkeypatch) as unwatched:
        accelerated()
    torch.manual_seed(9)
    with pretended_accelerator(monkeypatch) as watched:
        record = observe(accelerated)
    torch.manual_seed(9)
    plain = observe(accelerated)
    assert watched == unwatched  # nothing the recorder does reaches the modes of the script
    assert record["faults"] == []
    assert record["devices"] == {
        "step_cpu": 0,
        "step_cuda": 4,
        "train_cpu": 0,
        "train_cuda": 4,
        "eval_cpu": 0,
        "eval_cuda": 1,
    }
    assert {**record, "devices": plain["devices"]} == plain
    assert plain["mixture"]["violations"] == 2
