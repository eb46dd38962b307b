"""The gradient rule on whole training programs: correct ones stay silent, ones that do not clear do not."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mldebug.grader.trace import Recorder

Program = Callable[[], None]
CORRECT: dict[str, Program] = {}
BUGGY: dict[str, Program] = {}
BLIND: dict[str, Program] = {}

BATCHES = 12
generator = torch.Generator().manual_seed(3)
FEATURES = torch.randn(96, 6, generator=generator)
TARGETS = FEATURES[:, :1].sign()


def correct(program: Program) -> Program:
    CORRECT[program.__name__] = program
    return program


def buggy(program: Program) -> Program:
    BUGGY[program.__name__] = program
    return program


def network() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 1))


def sgd(model: nn.Module, rate: float = 0.05) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=rate)


def adam(model: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam(model.parameters(), lr=1e-2)


def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for index in range(BATCHES):
        rows = slice(8 * index, 8 * index + 8)
        yield FEATURES[rows], TARGETS[rows]


def loss_of(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return F.mse_loss(model(batch[0]), batch[1])


def loop(
    clear: Callable[[nn.Module, torch.optim.Optimizer, int], object],
    make: Callable[[nn.Module], torch.optim.Optimizer] = adam,
    before_step: Callable[[nn.Module, torch.optim.Optimizer], object] = lambda model, optimizer: None,
    after_step: Callable[[nn.Module, torch.optim.Optimizer], object] = lambda model, optimizer: None,
) -> None:
    """The plain loop, with the way gradients are cleared left open."""
    model = network()
    optimizer = make(model)
    for index, batch in enumerate(batches()):
        clear(model, optimizer, index)
        loss_of(model, batch).backward()
        before_step(model, optimizer)
        optimizer.step()
        after_step(model, optimizer)


def never(model: nn.Module, optimizer: torch.optim.Optimizer, index: int) -> None:
    pass


def each_gradient(model: nn.Module, change: Callable[[torch.Tensor], object]) -> None:
    for parameter in model.parameters():
        if parameter.grad is not None:
            change(parameter.grad)


def drop_gradients(model: nn.Module) -> None:
    for parameter in model.parameters():
        parameter.grad = None


def clip(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    nn.utils.clip_grad_norm_(model.parameters(), 0.1)


CORRECT["zero_grad"] = lambda: loop(lambda model, optimizer, i: optimizer.zero_grad())
CORRECT["zeros_kept"] = lambda: loop(lambda model, optimizer, i: optimizer.zero_grad(set_to_none=False))
CORRECT["model_zero_grad"] = lambda: loop(lambda model, optimizer, i: model.zero_grad())
CORRECT["grad_is_none"] = lambda: loop(lambda model, optimizer, i: drop_gradients(model))
CORRECT["grad_zero_in_place"] = lambda: loop(
    lambda model, optimizer, i: each_gradient(model, torch.Tensor.zero_)
)
CORRECT["zero_at_the_end"] = lambda: loop(never, after_step=lambda model, optimizer: optimizer.zero_grad())
CORRECT["clipped"] = lambda: loop(
    never, before_step=clip, after_step=lambda model, optimizer: optimizer.zero_grad()
)

BUGGY["never_cleared_adam"] = lambda: loop(never)
BUGGY["never_cleared_sgd"] = lambda: loop(never, make=sgd)
BUGGY["other_model_cleared"] = lambda: loop(lambda model, optimizer, i: adam(network()).zero_grad())
BUGGY["cleared_once_an_epoch"] = lambda: loop(
    lambda model, optimizer, i: optimizer.zero_grad() if i % 6 == 0 else None
)
BUGGY["halved"] = lambda: loop(lambda model, optimizer, i: each_gradient(model, lambda g: g.mul_(0.5)))
BUGGY["only_the_head"] = lambda: loop(lambda model, optimizer, i: model[2].zero_grad())
BUGGY["clipped_not_cleared"] = lambda: loop(never, before_step=clip)
BUGGY["cleared_every_third_batch"] = lambda: loop(
    lambda model, optimizer, i: optimizer.zero_grad() if i % 3 == 0 else None
)
BUGGY["zero_grad_of_the_wrong_model"] = lambda: loop(
    lambda model, optimizer, i: copy.deepcopy(model).zero_grad()
)
BUGGY["cleared_between_backward_and_step"] = lambda: loop(
    never, before_step=lambda model, optimizer: optimizer.zero_grad()
)


def accumulation(cleared: bool) -> None:
    model = network()
    optimizer = sgd(model)
    optimizer.zero_grad()
    for index, batch in enumerate(batches()):
        (loss_of(model, batch) / 4).backward()
        if index % 4 == 3:
            optimizer.step()
            if cleared:
                optimizer.zero_grad()


CORRECT["accumulation"] = lambda: accumulation(True)
BUGGY["accumulation_not_cleared"] = lambda: accumulation(False)


@correct
def accumulation_with_a_short_last_group() -> None:
    model = network()
    optimizer = adam(model)
    for _ in range(2):
        optimizer.zero_grad()
        for index, batch in enumerate(batches()):
            (loss_of(model, batch) / 5).backward()
            if index % 5 == 4 or index == BATCHES - 1:
                optimizer.step()
                optimizer.zero_grad()


@correct
def accumulation_that_becomes_nan() -> None:
    model = network()
    optimizer = sgd(model)
    for index, batch in enumerate(batches()):
        (loss_of(model, batch) * (math.nan if index == 0 else 1.0)).backward()
        if index % 3 == 2:
            optimizer.step()
            optimizer.zero_grad()


def adversaries(critic_cleared: bool) -> None:
    critic, maker = network(), nn.Linear(3, 6)
    critic_optimizer, maker_optimizer = adam(critic), adam(maker)
    for real, _ in batches():
        if critic_cleared:
            critic_optimizer.zero_grad()
        fake = maker(torch.randn(8, 3)).detach()
        (critic(real).mean() - critic(fake).mean()).backward()
        critic_optimizer.step()
        for parameter in critic.parameters():
            parameter.data.clamp_(-0.5, 0.5)
        maker_optimizer.zero_grad()
        (-critic(maker(torch.randn(8, 3))).mean()).backward()
        maker_optimizer.step()


CORRECT["adversaries_with_clamping"] = lambda: adversaries(True)
BUGGY["adversaries_critic_not_cleared"] = lambda: adversaries(False)


@correct
def clamped_after_an_unused_mixture_was_cleared() -> None:
    critic, maker = network(), nn.Linear(3, 6)
    critic_optimizer, maker_optimizer = adam(critic), adam(maker)
    for real, _ in batches():
        critic_optimizer.zero_grad()
        with torch.no_grad():
            for parameter in critic.parameters():
                parameter.clamp_(-0.1, 0.1)
        critic(real).mean().backward()
        critic_optimizer.step()
        maker_optimizer.zero_grad()
        (-critic(maker(torch.randn(8, 3))).mean()).backward()
        maker_optimizer.step()


@correct
def gradient_penalty() -> None:
    model = network()
    optimizer = adam(model)
    for rows, _ in batches():
        rows = rows.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(rows).sum(), rows, create_graph=True)
        optimizer.zero_grad()
        (model(rows).mean() + slope.norm(2, 1).pow(2).mean()).backward()
        optimizer.step()


def scaled(cleared: bool) -> None:
    """Loss scaling that overflows at first, so that steps are skipped."""
    model = network()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126)
    for batch in [*batches(), *batches()]:
        if cleared:
            optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(model, batch)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        clip(model, optimizer)
        scaler.step(optimizer)
        scaler.update()


CORRECT["loss_scaling"] = lambda: scaled(True)
BUGGY["loss_scaling_not_cleared"] = lambda: scaled(False)


def closures(cleared: bool) -> None:
    model = network()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=4, line_search_fn="strong_wolfe")

    def make(batch: tuple[torch.Tensor, torch.Tensor]) -> Callable[[], torch.Tensor]:
        def closure() -> torch.Tensor:
            if cleared:
                optimizer.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()
            return loss

        return closure

    for batch in list(batches())[:4]:
        optimizer.step(make(batch))


CORRECT["lbfgs"] = lambda: closures(True)
BUGGY["lbfgs_not_cleared"] = lambda: closures(False)


def by_hand(cleared: bool, rebind: bool) -> None:
    """Gradient descent without an optimizer; `rebind` replaces `.data`, which no version counter sees."""
    model = network()
    for batch in batches():
        loss_of(model, batch).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if rebind:
                    parameter.data = parameter.data - 0.05 * parameter.grad
                else:
                    parameter -= 0.05 * parameter.grad
                if cleared:
                    parameter.grad = None


CORRECT["by_hand"] = lambda: by_hand(True, rebind=False)
CORRECT["by_hand_data"] = lambda: by_hand(True, rebind=True)
BUGGY["by_hand_not_cleared"] = lambda: by_hand(False, rebind=False)
BUGGY["by_hand_data_not_cleared"] = lambda: by_hand(False, rebind=True)


@buggy
def data_changed_in_place_not_cleared() -> None:
    model = network()
    for batch in batches():
        loss_of(model, batch).backward()
        for parameter in model.parameters():
            parameter.data.sub_(parameter.grad, alpha=0.05)


def returned_gradients(summed: bool) -> None:
    model = network()
    kept: list[torch.Tensor] = []
    for batch in batches():
        gradients = list(torch.autograd.grad(loss_of(model, batch), list(model.parameters())))
        if summed and kept:
            gradients = [new + old for new, old in zip(gradients, kept, strict=True)]
        kept = gradients
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.05 * gradient


CORRECT["returned_gradients"] = lambda: returned_gradients(False)
BLIND["returned_gradients_summed"] = lambda: returned_gradients(True)


@correct
def functional_gradients() -> None:
    model = network()
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(weights: dict[str, torch.Tensor], rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(torch.func.functional_call(model, weights, rows), targets)

    for rows, targets in batches():
        gradients = torch.func.grad(loss)(weights, rows, targets)
        weights = {name: value - 0.05 * gradients[name] for name, value in weights.items()}


@correct
def backbone_left_out_of_the_optimizer() -> None:
    model = network()
    optimizer = sgd(model[2])
    for batch in batches():
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()


@correct
def two_losses_on_one_graph() -> None:
    model = network()
    optimizer = sgd(model)
    for rows, targets in batches():
        optimizer.zero_grad()
        output = model(rows)
        output.mean().pow(2).backward(retain_graph=True)
        F.mse_loss(output, targets).backward()
        optimizer.step()


def sharpness_aware(cleared: bool) -> None:
    model = network()
    optimizer = sgd(model)
    for batch in batches():
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        ascent = {p: 0.05 * p.grad / p.grad.norm() for p in model.parameters()}
        with torch.no_grad():
            for parameter, offset in ascent.items():
                parameter.add_(offset)
        if cleared:
            optimizer.zero_grad()
        loss_of(model, batch).backward()
        with torch.no_grad():
            for parameter, offset in ascent.items():
                parameter.sub_(offset)
        optimizer.step()


CORRECT["sharpness_aware"] = lambda: sharpness_aware(True)
BUGGY["sharpness_aware_not_cleared"] = lambda: sharpness_aware(False)


def step_inside_backward(cleared: bool) -> None:
    model = network()
    optimizers = {parameter: torch.optim.SGD([parameter], lr=0.05) for parameter in model.parameters()}

    def hook(parameter: torch.Tensor) -> None:
        optimizers[parameter].step()
        if cleared:
            optimizers[parameter].zero_grad()

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(hook)
    for batch in batches():
        loss_of(model, batch).backward()


CORRECT["step_inside_backward"] = lambda: step_inside_backward(True)
BUGGY["step_inside_backward_not_cleared"] = lambda: step_inside_backward(False)


def sparse(cleared: bool) -> None:
    table = nn.Embedding(20, 4, sparse=True)
    optimizer = torch.optim.SparseAdam(table.parameters(), lr=0.1)
    for start in range(8):
        if cleared:
            optimizer.zero_grad()
        table(torch.arange(start, start + 5)).pow(2).sum().backward()
        optimizer.step()


CORRECT["sparse"] = lambda: sparse(True)
BUGGY["sparse_not_cleared"] = lambda: sparse(False)


def two_optimizers(both_cleared: bool) -> None:
    model = network()
    body, head = sgd(model[0]), adam(model[2])
    for batch in batches():
        body.zero_grad()
        if both_cleared:
            head.zero_grad()
        loss_of(model, batch).backward()
        body.step()
        head.step()


CORRECT["two_optimizers"] = lambda: two_optimizers(True)
BUGGY["one_of_two_optimizers_cleared"] = lambda: two_optimizers(False)


@buggy
def copied_model_not_cleared() -> None:
    model = copy.deepcopy(network())
    optimizer = sgd(model)
    for batch in batches():
        loss_of(model, batch).backward()
        optimizer.step()


@buggy
def rebuilt_model_cleared_through_a_stale_optimizer() -> None:
    stale = adam(network())
    model = network()
    optimizer = adam(model)
    for batch in batches():
        stale.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()


@correct
def frozen_then_thawed() -> None:
    model = network()
    optimizer = sgd(model)
    model[0].requires_grad_(False)
    for index, batch in enumerate(batches()):
        if index == 5:
            model[0].requires_grad_(True)
        if index == 9:
            model[2].requires_grad_(False)
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()


@correct
def shared_weights() -> None:
    encoder, decoder = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
    decoder.weight = encoder.weight
    model = nn.Sequential(encoder, nn.Tanh(), decoder)
    optimizer = adam(model)
    for rows, _ in batches():
        optimizer.zero_grad()
        F.mse_loss(model(rows), rows).backward()
        optimizer.step()


@correct
def averaged_teacher() -> None:
    student = network()
    teacher = copy.deepcopy(student)
    optimizer = sgd(student)
    for rows, targets in batches():
        with torch.no_grad():
            hint = teacher(rows)
        optimizer.zero_grad()
        output = student(rows)
        (F.mse_loss(output, targets) + F.mse_loss(output, hint)).backward()
        optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.lerp_(fast, 0.1)


@correct
def schedule_and_zero_at_the_end() -> None:
    model = network()
    optimizer = adam(model)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5)
    for batch in batches():
        loss_of(model, batch).backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()


@correct
def parameter_group_added_later() -> None:
    model = network()
    optimizer = sgd(model[2])
    for index, batch in enumerate(batches()):
        if index == 4:
            optimizer.add_param_group({"params": model[0].parameters(), "lr": 0.01})
            model.zero_grad()
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()


@correct
def meta_learning() -> None:
    model = network()
    optimizer = adam(model)
    for rows, targets in batches():
        weights = dict(model.named_parameters())
        inner = F.mse_loss(torch.func.functional_call(model, weights, rows[:4]), targets[:4])
        slopes = torch.autograd.grad(inner, list(weights.values()), create_graph=True)
        adapted = {n: w - 0.1 * g for (n, w), g in zip(weights.items(), slopes, strict=True)}
        optimizer.zero_grad()
        F.mse_loss(torch.func.functional_call(model, adapted, rows[4:]), targets[4:]).backward()
        optimizer.step()


def checkpointed(reentrant: bool, cleared: bool) -> None:
    model = network()
    optimizer = sgd(model)
    for rows, targets in batches():
        if cleared:
            optimizer.zero_grad()
        rows = rows.clone().requires_grad_()
        F.mse_loss(checkpoint(model, rows, use_reentrant=reentrant), targets).backward()
        optimizer.step()


CORRECT["checkpointed"] = lambda: checkpointed(False, cleared=True)
CORRECT["checkpointed_reentrant"] = lambda: checkpointed(True, cleared=True)
BUGGY["checkpointed_not_cleared"] = lambda: checkpointed(False, cleared=False)
BUGGY["checkpointed_reentrant_not_cleared"] = lambda: checkpointed(True, cleared=False)


def kept_sums() -> None:
    """A sum of gradients kept beside the parameters and written over the fresh ones."""
    model = network()
    optimizer = sgd(model, 0.01)
    sums: dict[torch.Tensor, torch.Tensor] = {}
    for batch in batches():
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        for parameter in model.parameters():
            sums[parameter] = sums.get(parameter, 0) + parameter.grad
            parameter.grad = sums[parameter].clone()
        optimizer.step()


BLIND["kept_sums"] = kept_sums


def observe(program: Program) -> dict:
    with Recorder() as recorder:
        program()
    assert recorder.record is not None
    assert recorder.record["faults"] == []
    return recorder.record


@pytest.mark.parametrize("name", CORRECT)
def test_correct_programs_are_silent(name: str) -> None:
    record = observe(CORRECT[name])
    assert record["mixture"]["violations"] == 0
    assert record["mixture"]["first_backward"] is None
    assert record["empty_steps"] == 0


@pytest.mark.parametrize("name", BUGGY)
def test_buggy_programs_are_caught(name: str) -> None:
    record = observe(BUGGY[name])
    assert record["mixture"]["violations"] > 0 or record["empty_steps"] > 0


@pytest.mark.parametrize("name", BLIND)
def test_known_limit_sums_kept_by_hand_are_not_seen(name: str) -> None:
    record = observe(BLIND[name])
    assert record["mixture"]["violations"] == 0
    assert record["empty_steps"] == 0


def test_the_first_mixture_is_named_by_its_backward_call() -> None:
    assert observe(BUGGY["never_cleared_adam"])["mixture"]["first_backward"] == 1
    assert observe(BUGGY["accumulation_not_cleared"])["mixture"]["first_backward"] == 4


def test_empty_steps_are_those_after_a_misplaced_zero_grad() -> None:
    record = observe(BUGGY["cleared_between_backward_and_step"])
    assert record["empty_steps"] == BATCHES
    assert record["mixture"]["violations"] == 0


def test_leaves_are_counted_once() -> None:
    assert observe(CORRECT["zero_grad"])["mixture"]["leaves"] == 4
    assert observe(CORRECT["shared_weights"])["mixture"]["leaves"] == 1
    assert observe(CORRECT["returned_gradients"])["mixture"]["leaves"] == 0


def test_a_checkpoints_inner_engine_call_is_not_a_backward_of_the_script() -> None:
    plain, nested = observe(CORRECT["checkpointed"]), observe(CORRECT["checkpointed_reentrant"])
    assert plain["backward_calls"] == nested["backward_calls"] == BATCHES
    assert plain["losses_digest"] == nested["losses_digest"]
    assert plain["parameters"]["digest"] == nested["parameters"]["digest"]


def test_backward_to_chosen_inputs_reaches_only_those() -> None:
    def program() -> None:
        model = network()
        for batch in batches():
            loss_of(model, batch).backward(inputs=[model[0].weight])
            model.zero_grad()

    assert observe(program)["mixture"]["leaves"] == 1
