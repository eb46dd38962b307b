"""Training and evaluation forwards, and noise in the latter."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mldebug.grader.trace import Recorder

ROWS = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))


def observe(program: Callable[[], object]) -> dict:
    with Recorder() as recorder:
        program()
    assert recorder.record is not None
    assert recorder.record["faults"] == []
    return recorder.record


def evaluations(program: Callable[[], object]) -> dict:
    return observe(program)["eval_forwards"]


def noisy_network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(0.3), nn.Linear(5, 2))


def train_and_evaluate(before_evaluation: Callable[[nn.Module], object]) -> dict:
    def program() -> None:
        model = noisy_network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(3):
            model.train()
            optimizer.zero_grad()
            model(ROWS).pow(2).mean().backward()
            optimizer.step()
            before_evaluation(model)
            with torch.no_grad():
                model(ROWS[:5])

    return observe(program)


def test_eval_present() -> None:
    record = train_and_evaluate(lambda model: model.eval())
    assert record["train_forwards"] == {"calls": 3, "rows": 24, "distinct_rows": 8, "at_rest": 0}
    assert record["eval_forwards"] == {
        "calls": 3,
        "rows": 15,
        "rounds": 3,
        "noisy_calls": 0,
        "noisy_rows_not_trained_on": 0,
        "noisy_layers": [],
    }
    assert record["devices"] == {
        "step_cpu": 3,
        "step_cuda": 0,
        "train_cpu": 3,
        "train_cuda": 0,
        "eval_cpu": 3,
        "eval_cuda": 0,
    }


def test_eval_missing() -> None:
    record = train_and_evaluate(lambda model: None)
    assert record["train_forwards"]["calls"] == 3
    assert record["eval_forwards"] == {
        "calls": 3,
        "rows": 15,
        "rounds": 3,
        "noisy_calls": 3,
        "noisy_rows_not_trained_on": 0,
        "noisy_layers": ["BatchNorm1d", "Dropout"],
    }


def test_noise_on_rows_that_training_never_saw_is_told_apart() -> None:
    def program() -> None:
        model = noisy_network()
        model(ROWS[:4]).sum().backward()
        with torch.no_grad():
            model(ROWS[:4])  # statistics brought up to date, say
            model(ROWS[2:7])

    found = observe(program)["eval_forwards"]
    assert found["noisy_calls"] == 2
    assert found["noisy_rows_not_trained_on"] == 3


def test_random_numbers_inside_a_model_are_noise_only_in_evaluation() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.LazyLinear(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.layer(x)
            return x * (torch.rand_like(x) > 0.5) if self.training else x

    def program(training: bool) -> None:
        model = Masked()
        model.train(training)
        with torch.no_grad():
            model(ROWS[:4])

    assert evaluations(lambda: program(False))["noisy_layers"] == []  # filling a lazy layer is no noise
    assert evaluations(lambda: program(True))["noisy_layers"] == ["torch.rand_like"]


def test_stray_train_of_one_part() -> None:
    record = train_and_evaluate(lambda model: (model.eval(), model[3].train()))
    assert record["eval_forwards"]["noisy_layers"] == ["Dropout"]


class Functional(nn.Module):
    """Dropout as a function; `how` holds the arguments after the input."""

    def __init__(self, how: Callable[[nn.Module, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 4)
        self.how = how

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.how(self, self.layer(rows))


def images(hidden: torch.Tensor) -> torch.Tensor:
    return hidden.reshape(2, 4, 2, 2)


@pytest.mark.parametrize(
    ("how", "names"),
    [
        (lambda m, h: F.dropout(h, 0.5, m.training), []),
        (lambda m, h: F.dropout(h), ["F.dropout"]),
        (lambda m, h: F.dropout(h, p=0.5, training=True), ["F.dropout"]),
        (lambda m, h: F.dropout(h, 0.0), []),
        (lambda m, h: torch.dropout(h, 0.5, True), ["F.dropout"]),
        (lambda m, h: F.alpha_dropout(h), []),
        (lambda m, h: F.alpha_dropout(h, 0.2, True), ["F.alpha_dropout"]),
        (lambda m, h: F.dropout2d(images(h)), ["F.dropout2d"]),
        (lambda m, h: F.feature_alpha_dropout(images(h), training=True), ["F.feature_alpha_dropout"]),
        (lambda m, h: F.batch_norm(h, None, None, training=True), ["F.batch_norm"]),
        (lambda m, h: F.batch_norm(h, torch.zeros(4), torch.ones(4)), []),
        (lambda m, h: F.instance_norm(images(h)), []),
        (
            lambda m, h: F.instance_norm(images(h), torch.zeros(4), torch.ones(4), use_input_stats=True),
            ["F.instance_norm"],
        ),
        (
            lambda m, h: F.scaled_dot_product_attention(h[None], h[None], h[None], dropout_p=0.1),
            ["F.scaled_dot_product_attention"],
        ),
        (lambda m, h: F.scaled_dot_product_attention(h[None], h[None], h[None]), []),
    ],
)
def test_functions_under_eval(
    how: Callable[[nn.Module, torch.Tensor], torch.Tensor], names: list[str]
) -> None:
    @torch.no_grad()
    def program() -> None:
        Functional(how).eval()(ROWS)

    found = evaluations(program)
    assert found["noisy_layers"] == names
    assert found["noisy_calls"] == bool(names)


def test_a_name_imported_from_functional_is_seen() -> None:
    def program() -> None:
        scope: dict = {}
        exec("from torch.nn.functional import dropout", scope)
        with torch.no_grad():
            Functional(lambda m, h: scope["dropout"](h)).eval()(ROWS)

    assert evaluations(program)["noisy_layers"] == ["F.dropout"]


SEQUENCE = torch.randn(3, 8, 6, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    ("layer", "rows", "names"),
    [
        (lambda: nn.GroupNorm(2, 6), ROWS, []),
        (lambda: nn.LayerNorm(6), ROWS, []),
        (lambda: nn.Dropout(0.0), ROWS, []),
        (lambda: nn.Dropout2d(0.5), SEQUENCE[None], ["Dropout2d"]),
        (lambda: nn.AlphaDropout(0.5), ROWS, ["AlphaDropout"]),
        (lambda: nn.BatchNorm1d(6), ROWS, ["BatchNorm1d"]),
        (lambda: nn.InstanceNorm1d(8), SEQUENCE, []),
        (lambda: nn.InstanceNorm1d(8, track_running_stats=True), SEQUENCE, ["InstanceNorm1d"]),
        (lambda: nn.GRU(6, 4, num_layers=2, dropout=0.2), SEQUENCE, ["GRU"]),
        (lambda: nn.LSTM(6, 4, num_layers=1), SEQUENCE, []),
        (lambda: nn.TransformerEncoderLayer(6, 2, 8, 0.1), SEQUENCE, ["Dropout", "MultiheadAttention"]),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_layers(layer: Callable[[], nn.Module], rows: torch.Tensor, names: list[str], training: bool) -> None:
    @torch.no_grad()
    def program() -> None:
        layer().train(training)(rows)

    assert evaluations(program)["noisy_layers"] == (names if training else [])


@pytest.mark.parametrize("need_weights", [True, False])
def test_attention_dropout(need_weights: bool) -> None:
    @torch.no_grad()
    def program(training: bool) -> None:
        attention = nn.MultiheadAttention(6, 2, dropout=0.2).train(training)
        attention(SEQUENCE, SEQUENCE, SEQUENCE, need_weights=need_weights)

    assert evaluations(lambda: program(True))["noisy_layers"] == ["MultiheadAttention"]
    assert evaluations(lambda: program(False))["noisy_layers"] == []


def test_batch_norm_without_running_statistics_mixes_rows_in_either_mode() -> None:
    @torch.no_grad()
    def program() -> None:
        nn.BatchNorm1d(6, track_running_stats=False).eval()(ROWS)

    assert evaluations(program)["noisy_layers"] == ["BatchNorm1d"]


def test_batch_norm_frozen_during_training_is_not_noise() -> None:
    def program() -> None:
        model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
        model[1].eval()
        model(ROWS).sum().backward()
        with torch.no_grad():
            model(ROWS)

    found = evaluations(program)
    assert (found["calls"], found["rows"], found["noisy_calls"], found["noisy_layers"]) == (1, 8, 0, [])


def test_inference_mode_is_an_evaluation() -> None:
    def program() -> None:
        with torch.inference_mode():
            noisy_network()(ROWS)

    assert evaluations(program)["noisy_calls"] == 1


def test_gradients_on_but_never_asked_for_is_an_evaluation() -> None:
    def program() -> None:
        F.mse_loss(noisy_network()(ROWS), torch.zeros(8, 2)).item()

    record = observe(program)
    assert record["train_forwards"]["calls"] == 0
    assert record["eval_forwards"]["noisy_calls"] == 1


def test_an_output_that_is_detached_before_the_loss_is_an_evaluation() -> None:
    def program() -> None:
        first, second = noisy_network(), nn.Linear(2, 1)
        second(first(ROWS).detach()).sum().backward()

    record = observe(program)
    assert record["train_forwards"]["calls"] == 1
    assert record["eval_forwards"]["calls"] == 1
    assert record["eval_forwards"]["noisy_layers"] == ["BatchNorm1d", "Dropout"]


def test_both_modules_of_a_chain_are_training() -> None:
    def program() -> None:
        first, second = noisy_network(), nn.Linear(2, 1)
        second(first(ROWS)).sum().backward()

    record = observe(program)
    assert record["train_forwards"]["calls"] == 2
    assert record["eval_forwards"]["calls"] == 0


@pytest.mark.parametrize("wrap", [dict, tuple, list])
def test_outputs_in_containers(wrap: type) -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = noisy_network()

        def forward(self, rows: torch.Tensor) -> object:
            parts = [("first", self.body(rows)), ("second", self.body(rows).mean())]
            return dict(parts) if wrap is dict else wrap(part for _, part in parts)

    def program() -> None:
        result = Pair()(ROWS)
        (result["second"] if wrap is dict else result[1]).backward()

    record = observe(program)
    assert record["train_forwards"]["calls"] == 1
    assert record["eval_forwards"]["noisy_calls"] == 0


def test_a_distribution_as_output() -> None:
    class Policy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = noisy_network()

        def forward(self, rows: torch.Tensor) -> torch.distributions.Distribution:
            return torch.distributions.Categorical(logits=self.body(rows))

    record = observe(lambda: Policy()(ROWS).log_prob(torch.zeros(8)).sum().backward())
    assert record["train_forwards"]["calls"] == 1
    assert record["eval_forwards"]["calls"] == 0


def test_a_module_that_returns_its_parameter_gathers_no_hooks() -> None:
    class Prompt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vector = nn.Parameter(torch.ones(3))

        def forward(self) -> torch.Tensor:
            return self.vector

    prompt = Prompt()

    def program() -> None:
        for _ in range(5):
            prompt().sum().backward()

    assert observe(program)["train_forwards"]["calls"] == 5
    assert not prompt.vector._backward_hooks


def test_losses_written_as_modules_are_not_counted() -> None:
    def program() -> None:
        model, criterion = nn.Linear(6, 1), nn.MSELoss()
        criterion(model(ROWS), torch.zeros(8, 1)).backward()
        with torch.no_grad():
            criterion(model(ROWS), torch.zeros(8, 1))

    record = observe(program)
    assert record["train_forwards"]["calls"] == 1
    assert record["eval_forwards"]["calls"] == 1


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_training_is_no_noisy_evaluation(reentrant: bool) -> None:
    def program() -> None:
        model = noisy_network()
        rows = ROWS.clone().requires_grad_()
        checkpoint(model, rows, use_reentrant=reentrant).sum().backward()

    record = observe(program)
    assert record["train_forwards"]["calls"] == 1
    assert record["eval_forwards"]["calls"] == 0
    assert record["eval_forwards"]["noisy_calls"] == 0


def test_functional_dropout_outside_any_module() -> None:
    def program() -> None:
        F.dropout(ROWS)
        with torch.no_grad():
            F.dropout(ROWS)
            F.dropout(ROWS, training=False)

    found = evaluations(program)
    assert found["calls"] == 0
    assert (found["noisy_calls"], found["noisy_layers"]) == (1, ["F.dropout"])


def test_transformed_functions_are_training() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.3), nn.Linear(5, 2))
    weights = {name: value.detach() for name, value in model.named_parameters()}

    def loss(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.func.functional_call(model, weights, ROWS).sum()

    record = observe(lambda: torch.func.grad(loss)(weights))
    assert record["train_forwards"]["calls"] == 1
    assert record["eval_forwards"]["calls"] == 0


def test_graphs_die_with_their_outputs() -> None:
    with Recorder() as recorder:
        model = noisy_network()
        gc.collect()
        gc.disable()
        try:
            for _ in range(500):
                rows = ROWS.clone()  # the first layer's graph node saves it
                output = model(rows)
                watched = [weakref.ref(rows), weakref.ref(output)]
                del rows, output
                assert [reference() for reference in watched] == [None, None]
        finally:
            gc.enable()
    assert recorder.record is not None
    assert recorder.record["eval_forwards"]["noisy_calls"] == 500


def test_objects_do_not_pile_up_over_forwards_without_backward() -> None:
    with Recorder():
        model = noisy_network()

        def count() -> int:
            for _ in range(250):
                model(ROWS)
            gc.collect()
            return len(gc.get_objects())

        count()
        first, second = count(), count()
    assert second - first < 50  # 250 forwards that each left one object would show


def test_a_forward_that_raises_is_counted_once() -> None:
    def program() -> None:
        model = noisy_network()
        for _ in range(3):
            with pytest.raises(RuntimeError):
                model(torch.zeros(4, 7))
        model.eval()
        with torch.no_grad():
            model(ROWS)

    record = observe(program)
    assert record["swallowed"] == 3
    assert record["eval_forwards"]["calls"] == 1


def test_a_layer_that_raises_inside_a_model_is_counted_once() -> None:
    class Lenient(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = nn.BatchNorm1d(7), nn.Linear(6, 1)

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            try:
                rows = self.norm(rows)
            except (ValueError, RuntimeError):
                return self.head(rows)
            return self.head(rows)

    def program() -> None:
        model = nn.Sequential(nn.Sequential(Lenient()))
        for _ in range(3):
            model(ROWS)
        with pytest.raises(RuntimeError):
            nn.Sequential(nn.Sequential(nn.Linear(7, 1)))(ROWS)
        try:
            raise KeyError
        except KeyError:
            nn.Linear(6, 1)(ROWS)

    assert observe(program)["swallowed"] == 4


def test_a_checkpoint_that_stops_early_swallows_nothing() -> None:
    def program() -> None:
        block = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
        model = nn.Sequential(block, nn.Linear(8, 1))
        checkpoint(model, ROWS, use_reentrant=False).sum().backward()

    assert observe(program)["swallowed"] == 0


def test_a_backward_that_raises_is_counted() -> None:
    def program() -> None:
        loss = nn.Linear(6, 1)(ROWS).sum()
        loss.backward()
        with pytest.raises(RuntimeError, match="second time"):
            loss.backward()

    assert observe(program)["swallowed"] == 1


def test_a_forward_left_by_system_exit_hides_nothing() -> None:
    class Quits(nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            raise SystemExit(3)

    def program() -> None:
        with pytest.raises(SystemExit):
            nn.Sequential(nn.Sequential(Quits()))(ROWS)
        with torch.no_grad():
            noisy_network()(ROWS)

    assert evaluations(program)["noisy_calls"] == 1


def test_a_loss_over_all_pairs_is_a_broadcast_however_it_is_spelled() -> None:
    target = torch.arange(4.0)
    prediction = torch.ones(4, requires_grad=True)

    def crossed() -> None:
        pair = torch.broadcast_tensors(prediction.unsqueeze(1), target.unsqueeze(0))
        nn.functional.mse_loss(*pair).backward()

    def members() -> None:
        many = prediction.repeat(3, 1)
        nn.functional.mse_loss(many, target.expand(3, 4)).backward()

    assert observe(crossed)["loss_shapes"]["mismatched"] == 1
    assert observe(members)["loss_shapes"]["mismatched"] == 0


class Forgetful(nn.Module):
    """Drops units by a function, and in a recurrent layer, as its mode says."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(6, 4, num_layers=2, dropout=0.2)
        self.last = nn.Linear(4, 2)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.last(F.dropout(self.recurrent(rows)[0], 0.3, self.training))


@pytest.mark.parametrize("make", [noisy_network, Forgetful])
def test_training_forwards_in_evaluation_mode_are_counted(make: Callable[[], nn.Module]) -> None:
    model = make()
    resting = lambda: observe(lambda: model(ROWS).sum().backward())["train_forwards"]["at_rest"]  # noqa: E731
    assert resting() == 0
    model.eval()
    assert resting() == 1


def test_a_training_forward_with_a_part_in_training_mode_is_not_at_rest() -> None:
    model = noisy_network()
    model[1].eval()
    seen = observe(lambda: model(ROWS).sum().backward())
    assert seen["train_forwards"]["at_rest"] == 0
    plain = nn.Sequential(nn.Linear(6, 2), nn.Dropout(0.0)).eval()
    assert observe(lambda: plain(ROWS).sum().backward())["train_forwards"]["at_rest"] == 0


def test_an_evaluation_is_no_training_at_rest() -> None:
    model = noisy_network().eval()

    def program() -> None:
        with torch.no_grad():
            model(ROWS)

    assert observe(program)["train_forwards"]["at_rest"] == 0
