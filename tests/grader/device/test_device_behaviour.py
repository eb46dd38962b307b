"""What a correct program may do with an accelerator, and what it sees."""

from __future__ import annotations

import copy
import io
import pickle
import threading

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

from mldebug.grader.device import is_accelerated

pytestmark = pytest.mark.usefixtures("gpu")
DEVICE = torch.device("cuda")
IMAGES = torch.randn(32, 1, 8, 8)
CLASSES = torch.randint(3, (32,))
WINDOWS = torch.randn(16, 6, 8)


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape, device=DEVICE)


class TestDevices:
    def test_a_tensor_tells_its_device(self):
        tensor = ones(2)
        assert tensor.get_device() == 0
        assert str(tensor.device) == "cuda:0"
        assert tensor.device == torch.device("cuda", 0)
        assert tensor.type() == "torch.cuda.FloatTensor"
        assert tensor.is_cuda and not tensor.is_cpu
        assert isinstance(tensor, torch.cuda.FloatTensor)

    def test_a_cpu_tensor_stays_what_it_was(self):
        tensor = torch.ones(2)
        assert tensor.get_device() == -1
        assert tensor.device.type == "cpu"
        assert tensor.type() == "torch.FloatTensor"
        assert tensor.is_cpu and not tensor.is_cuda
        assert not isinstance(tensor, torch.cuda.FloatTensor)

    def test_repr_names_the_device(self):
        assert repr(ones(2)) == "tensor([1., 1.], device='cuda:0')"
        assert repr(torch.ones(2)) == "tensor([1., 1.])"

    def test_cuda_answers_questions(self):
        assert torch.cuda.is_available() and torch.cuda.device_count() == 1
        assert "NVIDIA" in torch.cuda.get_device_name(0)
        assert torch.cuda.current_device() == 0
        assert torch.cuda.get_device_properties(0).total_memory > 1 << 30
        assert torch.cuda.memory_allocated() <= torch.cuda.max_memory_reserved()
        free, total = torch.cuda.mem_get_info()
        assert free < total
        assert torch.cuda.is_bf16_supported()
        assert torch.backends.cudnn.is_available()

    def test_cuda_obeys_without_effect(self):
        state = torch.get_rng_state()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.manual_seed(1)
        torch.cuda.manual_seed_all(1)
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.set_device(0)
        with torch.cuda.device(0), torch.cuda.stream(torch.cuda.Stream()):
            assert ones(1).is_cuda
        assert torch.equal(state, torch.get_rng_state())

    def test_events_measure_time(self):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        end.record()
        torch.cuda.synchronize()
        assert start.elapsed_time(end) >= 0

    def test_accelerator_api(self):
        assert torch.accelerator.is_available()
        assert torch.accelerator.current_accelerator().type == "cuda"

    def test_an_index_beyond_the_only_device_is_refused(self):
        with pytest.raises(RuntimeError, match="invalid device ordinal"):
            torch.zeros(1, device="cuda:1")


class TestFactories:
    @pytest.mark.parametrize("device", ["cuda", "cuda:0", 0, torch.device("cuda"), torch.device("cuda", 0)])
    def test_every_spelling_of_the_device(self, device):
        made = [
            torch.zeros(2, device=device),
            torch.eye(3, device=device),
            torch.arange(3, device=device),
            torch.full((2,), 1.0, device=device),
            torch.rand(2, device=device),
            torch.randperm(4, device=device),
            torch.linspace(0, 1, 3, device=device),
            torch.tensor([1.0], device=device),
            torch.as_tensor([1.0], device=device),
            torch.as_tensor(np.ones(2), device=device),
            torch.asarray([1.0], device=device),
            torch.ones(2).to(device),
            torch.ones(2).cuda(),
            nn.Linear(2, 2, device=device).weight,
            nn.Linear(2, 2).to(device).weight,
        ]
        assert all(one.is_cuda for one in made)

    def test_like_and_new_follow_their_tensor(self):
        like = ones(3)
        made = [
            like.new_zeros(2), like.new_tensor([1.0]), like.new_full((1,), 2.0), like.new(2),
            torch.zeros_like(like), torch.empty_like(like), torch.rand_like(like), torch.full_like(like, 2.0),
        ]  # fmt: skip
        assert all(one.is_cuda for one in made)

    def test_an_explicit_cpu_wins(self):
        like = ones(3)
        made = [torch.zeros_like(like, device="cpu"), like.new_zeros(2, device="cpu"), torch.zeros(2)]
        assert not any(one.is_cuda for one in made)

    def test_default_device(self):
        with torch.device("cuda"):
            assert torch.zeros(2).is_cuda and nn.Linear(2, 2).weight.is_cuda and torch.tensor([1.0]).is_cuda
        torch.set_default_device("cuda")
        try:
            assert torch.zeros(2).is_cuda and nn.Linear(2, 2).bias.is_cuda
        finally:
            torch.set_default_device(None)
        assert not torch.zeros(2).is_cuda

    @pytest.mark.filterwarnings("ignore:To copy construct")
    def test_tensor_of_a_tensor_keeps_its_device(self):
        source = ones(2)
        copied = torch.tensor(source)
        assert copied.is_cuda and copied.data_ptr() != source.data_ptr()
        assert not torch.tensor(source, device="cpu").is_cuda
        assert torch.as_tensor(source) is source
        assert torch.as_tensor(source, dtype=torch.float64).is_cuda

    def test_a_leaf_made_on_the_device_is_a_leaf(self):
        made = torch.tensor([1.0], device="cuda", requires_grad=True)
        assert made.is_leaf and made.requires_grad

    def test_from_numpy_shares_only_on_the_cpu(self):
        array = np.ones(3)
        moved = torch.from_numpy(array).to(DEVICE)
        placed = torch.as_tensor(array, device=DEVICE)
        array[0] = 5
        assert moved[0] == 1 and placed[0] == 1 and moved.is_cuda

    def test_legacy_constructors(self):
        assert torch.cuda.FloatTensor([1.0, 2.0]).is_cuda
        assert torch.cuda.LongTensor([1]).dtype == torch.int64
        assert ones(2).type(torch.FloatTensor).is_cuda is False
        assert torch.ones(2).type("torch.cuda.DoubleTensor").is_cuda
        assert torch.ones(2).type_as(ones(1)).is_cuda and not ones(2).type_as(torch.ones(1)).is_cuda

    def test_generators_draw_on_their_device(self):
        generator = torch.Generator(device="cuda").manual_seed(0)
        assert generator.device == torch.device("cuda", 0)
        assert isinstance(torch.default_generator, torch.Generator)
        first = torch.randn(3, device=DEVICE, generator=generator)
        again = torch.randn(3, device=DEVICE, generator=torch.Generator("cuda").manual_seed(0))
        assert first.is_cuda and torch.equal(first, again)


class TestMoves:
    def test_a_move_copies_and_a_stay_does_not(self):
        tensor = ones(2)
        back = tensor.cpu()
        back += 1
        assert tensor.sum() == 2 and tensor.cpu().numpy().sum() == 2
        assert tensor.to(DEVICE) is tensor and tensor.cuda() is tensor
        plain = torch.ones(2)
        assert plain.to("cpu") is plain and plain.cpu() is plain

    def test_every_form_of_to(self):
        tensor = torch.ones(2)
        other = torch.ones(1, dtype=torch.float64, device=DEVICE)
        assert tensor.to(other).is_cuda and tensor.to(other).dtype == torch.float64
        assert tensor.to(other=other).is_cuda
        assert tensor.to("cuda", torch.float16).dtype == torch.float16
        assert tensor.to(device="cuda", dtype=torch.int64, non_blocking=True).is_cuda
        assert tensor.to("cuda", non_blocking=True, copy=True).is_cuda
        assert tensor.to(DEVICE, torch.float64, True, True).is_cuda
        assert other.to(torch.float32).is_cuda and other.to(tensor).is_cuda is False
        images = IMAGES.to(DEVICE, memory_format=torch.channels_last)
        assert images.is_cuda and images.is_contiguous(memory_format=torch.channels_last)

    def test_a_move_is_differentiable(self):
        leaf = torch.ones(3, requires_grad=True)
        leaf.to(DEVICE).mul(2).sum().backward()
        assert leaf.grad.tolist() == [2, 2, 2] and not leaf.grad.is_cuda

    def test_modules_move(self):
        model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).cuda()
        assert all(one.is_cuda for one in [*model.parameters(), *model.buffers()])
        assert model.cpu()[0].weight.device.type == "cpu"
        assert model.to(0)[0].weight.is_cuda

    def test_materialising_a_meta_module(self):
        with torch.device("meta"):
            layer = nn.Linear(2, 2)
        assert layer.weight.device.type == "meta"
        assert layer.to_empty(device="cuda").weight.is_cuda

    def test_data_and_parameter_wrapping(self):
        parameter = nn.Parameter(torch.ones(2))
        parameter.data = parameter.data.to(DEVICE)
        assert parameter.is_cuda and nn.Parameter(parameter.data).is_cuda and nn.Parameter(ones(2)).is_cuda
        parameter.data = torch.zeros(2)
        assert not parameter.is_cuda
        plain = torch.empty(0)
        plain.set_(ones(3))
        assert plain.is_cuda

    def test_pinned_memory(self):
        pinned = torch.ones(2).pin_memory()
        assert pinned.is_pinned() and not pinned.is_cuda
        assert pinned.to(DEVICE, non_blocking=True).is_cuda
        assert torch.empty(2, pin_memory=True).is_pinned()
        assert not torch.ones(2).is_pinned()
        with pytest.raises(RuntimeError, match=r"cannot pin 'torch\.cuda\.FloatTensor'"):
            ones(2).pin_memory()

    def test_copies_cross_devices(self):
        target = torch.zeros(3, device=DEVICE)
        target[0] = 1.0
        target[1] = torch.tensor(2.0)
        target[1:].copy_(torch.ones(2))
        target[:2] = torch.ones(2)
        plain = torch.zeros(3)
        plain.copy_(target)
        plain[0] = ones(1)[0]
        assert target.is_cuda and not plain.is_cuda and plain.tolist() == [1, 1, 1]


class TestResults:
    def test_results_follow_operands(self):
        a = torch.randn(6, 2, device=DEVICE)
        parts = [
            *a.split(2),
            *a.chunk(2),
            *a.unbind(0),
            *a,
            a.T,
            a.max(1).values,
            a.topk(1).indices,
            a.detach(),
        ]
        casts = [
            a.clone(),
            a.to(torch.float64),
            a.half(),
            a.long(),
            a.flatten(),
            a[None],
            a > 0,
            a.abs().sqrt(),
        ]
        assert all(one.is_cuda for one in parts + casts)

    @pytest.mark.parametrize(
        "make",
        [
            lambda a: torch.einsum("bij,bjk->bik", a, a),
            lambda a: torch.tensordot(a, a, dims=([2], [2])),
            lambda a: F.pad(a, (1, 1)),
            lambda a: F.pad(a, (1, 1), mode="reflect"),
            lambda a: F.one_hot(torch.tensor([0, 2], device=a.device), 3),
            lambda a: torch.where(a > 0, a, 0.0),
            lambda a: torch.where(a > 0, a, torch.tensor(0.0)),
            lambda a: a.masked_fill(a > 0, 0.0),
            lambda a: a.masked_fill(a > 0, torch.tensor(0.0)),
            lambda a: torch.zeros(2, 3).cuda().scatter(1, torch.zeros(2, 1, dtype=torch.long).cuda(), 1.0),
            lambda a: 2**a,
            lambda a: 1 - a,
            lambda a: 1 / a,
            lambda a: torch.quantile(a, 0.5),
            lambda a: a.quantile(torch.tensor([0.1, 0.9], device=a.device)),
            lambda a: torch.combinations(a[0, 0]),
            lambda a: torch.cov(a[0]),
            lambda a: torch.cdist(a, a),
            lambda a: torch.stft(a.flatten().repeat(4), 16, return_complex=True, window=a.flatten()[:16]),
            lambda a: torch.fft.rfft(a),
            lambda a: torch.complex(a, a).abs(),
            lambda a: torch.linalg.norm(a),
            lambda a: torch.linalg.solve(torch.eye(3, device=a.device), a[0]),
            lambda a: a.std(dim=(0, 1)),
            lambda a: torch.meshgrid(a[0, 0], a[0, 1], indexing="ij")[0],
            lambda a: a.repeat_interleave(2, dim=0),
            lambda a: torch.nn.utils.rnn.pad_sequence([a[0], a[1]]),
            lambda a: F.interpolate(a, scale_factor=2),
            lambda a: F.normalize(a),
            lambda a: F.gumbel_softmax(a),
            lambda a: F.unfold(a[None], 2),
            lambda a: torch.unique(a),
            lambda a: torch.bincount(torch.tensor([0, 1]).cuda()),
            lambda a: torch.histc(a, 3),
            lambda a: torch.nn.functional.embedding_bag(torch.tensor([[0, 1]]).cuda(), a[0]),
            lambda a: F.multi_margin_loss(a[0], torch.tensor([0, 1, 2]).cuda()),
            lambda a: F.triplet_margin_loss(a[0], a[0], a[1]),
            lambda a: F.cosine_embedding_loss(a[0], a[1], torch.ones(3).cuda()),
            lambda a: F.kl_div(a.log_softmax(-1), a.softmax(-1), reduction="batchmean"),
            lambda a: F.ctc_loss(
                torch.randn(5, 1, 3).cuda().log_softmax(2), torch.tensor([[1]]).cuda(), [5], [1]
            ),
            lambda a: F.gaussian_nll_loss(a, a, a.abs() + 1),
            lambda a: F.group_norm(a, 3),
            lambda a: F.instance_norm(a),
            lambda a: torch.distributions.Normal(a, 1.0).sample(),
            lambda a: torch.distributions.Categorical(logits=a).log_prob(torch.tensor(0).cuda()),
            lambda a: torch.logsumexp(a, 0),
            lambda a: torch.tril(a),
            lambda a: torch.triu_indices(3, 3, device=a.device),
            lambda a: torch.diag_embed(a),
            lambda a: torch.block_diag(a[0], a[1]),
            lambda a: torch.kron(a[0], a[1]),
            lambda a: torch.bucketize(a, torch.tensor([0.0, 1.0]).cuda()),
        ],
    )  # fmt: skip
    def test_operators_stay_on_the_device(self, make):
        assert make(torch.randn(2, 3, 3, device=DEVICE)).is_cuda

    def test_numbers_come_back(self):
        tensor = ones(3)
        assert (float(tensor.sum()), tensor.tolist(), int(tensor[0])) == (3.0, [1, 1, 1], 1)
        assert f"{tensor.mean():.2f}" == "1.00" and bool(tensor.any()) and len(list(tensor)) == 3
        assert tensor.numpy(force=True).sum() == 3

    def test_zero_dim_cpu_operands_are_welcome(self):
        tensor = ones(2)
        assert (tensor + torch.tensor(1.0)).is_cuda and (torch.tensor(2.0) * tensor).is_cuda
        tensor *= torch.tensor(2.0)
        assert torch.addcmul(tensor, tensor, torch.tensor(2.0)).is_cuda

    def test_a_running_sum_moves_to_the_device(self):
        total = torch.tensor(0.0)
        total = total + ones(2).sum()
        assert total.is_cuda and (0.0 + ones(2).sum()).is_cuda

    def test_cpu_indices_and_masks_select_on_the_device(self):
        tensor = torch.arange(6.0, device=DEVICE)
        assert tensor[torch.tensor([0, 2])].is_cuda and tensor[[0, 2]].is_cuda
        assert tensor[torch.tensor([True, False, False, True, True, True])].is_cuda
        tensor[torch.tensor([1])] = 5.0
        tensor[tensor > 3] = 0.0
        tensor[torch.tensor([1])] = torch.tensor(7.0)
        assert tensor.is_cuda and tensor[1] == 7
        mask = tensor > 1
        mask &= tensor < 9
        assert mask.is_cuda and mask.sum() == 3

    def test_out_arguments(self):
        out = torch.empty(2, device=DEVICE)
        assert torch.add(ones(2), ones(2), out=out) is out and out.is_cuda

    def test_sparse(self):
        sparse = torch.eye(3, device=DEVICE).to_sparse()
        assert sparse.is_cuda and sparse.to_dense().is_cuda and torch.sparse.mm(sparse, ones(3, 2)).is_cuda

    def test_functional_transforms(self):
        assert torch.func.grad(lambda x: (x * x).sum())(ones(3)).is_cuda
        assert torch.vmap(lambda x: x.sum())(ones(3, 2)).is_cuda

    def test_threads_take_part(self):
        tensor, seen = ones(2), []
        for run in (threading.Thread(target=lambda: seen.append((tensor * 2).is_cuda)),):
            run.start()
            run.join()
        assert seen == [True]


class TestCopiesAndFiles:
    def test_deepcopy_and_averages(self):
        model = nn.Linear(8, 3).to(DEVICE)
        average = copy.deepcopy(model)
        assert average.weight.is_cuda
        with torch.no_grad():
            for ours, theirs in zip(average.parameters(), model.parameters(), strict=True):
                ours.mul_(0.9).add_(theirs, alpha=0.1).lerp_(theirs, 0.1)
        torch.optim.swa_utils.AveragedModel(model).update_parameters(model)

    def test_copy_and_pickle(self):
        tensor = ones(2)
        assert copy.copy(tensor).is_cuda and copy.deepcopy(tensor).is_cuda
        assert pickle.loads(pickle.dumps(tensor)).is_cuda

    @pytest.mark.parametrize(
        ("place", "accelerated"),
        [
            (None, True),
            ("cpu", False),
            ("cuda", True),
            (DEVICE, True),
            ({"cuda:0": "cpu"}, False),
            (lambda storage, place: storage.cpu(), False),
        ],
    )
    def test_checkpoints(self, place, accelerated):
        buffer = io.BytesIO()
        torch.save({"weight": torch.ones(2, device=DEVICE)}, buffer)
        buffer.seek(0)
        assert torch.load(buffer, map_location=place)["weight"].is_cuda is accelerated

    def test_a_cpu_checkpoint_can_be_loaded_onto_the_device(self):
        buffer = io.BytesIO()
        torch.save(nn.Linear(2, 2).state_dict(), buffer)
        buffer.seek(0)
        assert torch.load(buffer, map_location="cuda")["weight"].is_cuda

    def test_load_state_dict_crosses_devices(self):
        model = nn.Linear(8, 3).to(DEVICE)
        model.load_state_dict(nn.Linear(8, 3).state_dict())
        assert model.weight.is_cuda and model.state_dict()["weight"].is_cuda


class TestTraining:
    def test_gradients_and_statistics_lie_with_their_owners(self):
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
        )
        model.to(DEVICE)
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(model(IMAGES.to(DEVICE)), CLASSES.to(DEVICE)).backward()
            optimizer.step()
        state = optimizer.state[model[0].weight]
        assert model[0].weight.grad.is_cuda and model[1].running_mean.is_cuda
        assert state["exp_avg"].is_cuda and not state["step"].is_cuda

    @pytest.mark.parametrize("options", [{}, {"foreach": True}, {"foreach": False}, {"fused": True}])
    def test_optimizers_in_every_flavour(self, options):
        model = nn.Linear(3, 3).to(DEVICE)
        optimizer = torch.optim.AdamW(model.parameters(), **options)
        model(ones(2, 3)).sum().backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        nn.utils.clip_grad_value_(model.parameters(), 1.0)
        optimizer.step()
        assert norm.is_cuda and optimizer.state[model.weight]["exp_avg"].is_cuda

    def test_an_optimizer_over_both_devices(self):
        here, there = nn.Linear(2, 2), nn.Linear(2, 2).to(DEVICE)
        optimizer = torch.optim.SGD([*here.parameters(), *there.parameters()], lr=0.1, momentum=0.9)
        there(here(torch.ones(1, 2)).to(DEVICE)).sum().backward()
        optimizer.step()
        assert not here.weight.grad.is_cuda and there.weight.grad.is_cuda

    def test_an_optimizer_made_before_the_move(self):
        model = nn.Linear(3, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        model.to(DEVICE)
        model(ones(2, 3)).sum().backward()
        optimizer.step()
        assert optimizer.state[model.weight]["momentum_buffer"].is_cuda

    @pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
    def test_recurrent_layers(self, kind):
        layer = kind(8, 4, batch_first=True, num_layers=2, dropout=0.1).to(DEVICE)
        start = torch.zeros(2, 16, 4, device=DEVICE)
        out, _ = layer(WINDOWS.to(DEVICE), (start, start) if kind is nn.LSTM else start)
        out.sum().backward()
        assert out.is_cuda and layer.weight_hh_l0.grad.is_cuda

    def test_packed_sequences(self):
        lengths = torch.full((16,), 6)
        packed = nn.utils.rnn.pack_padded_sequence(WINDOWS.to(DEVICE), lengths, batch_first=True)
        assert packed.data.is_cuda and not packed.batch_sizes.is_cuda
        out, _ = nn.GRU(8, 4, batch_first=True).to(DEVICE)(packed)
        padded, back = nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
        assert padded.is_cuda and not back.is_cuda

    def test_attention_in_evaluation(self):
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        model = nn.TransformerEncoder(layer, 1).to(DEVICE).eval()
        mask = torch.zeros(16, 6, dtype=torch.bool, device=DEVICE)
        with torch.no_grad():
            assert model(WINDOWS.to(DEVICE), src_key_padding_mask=mask).is_cuda

    def test_causal_attention(self):
        model = nn.Transformer(8, 2, 1, 1, 8, batch_first=True).to(DEVICE)
        mask = nn.Transformer.generate_square_subsequent_mask(6, device=DEVICE)
        rows = WINDOWS.to(DEVICE)
        assert model(rows, rows, tgt_mask=mask).is_cuda

    def test_a_buffer_moves_with_its_module(self):
        class Positions(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("table", torch.randn(6, 8))
                self.head = nn.Linear(8, 3)

            def forward(self, x):
                return self.head(x + self.table[: x.size(1)])

        assert Positions().to(DEVICE)(WINDOWS.to(DEVICE)).is_cuda

    @pytest.mark.filterwarnings("ignore::FutureWarning")
    @pytest.mark.parametrize("legacy", [False, True])
    def test_mixed_precision(self, legacy):
        model = nn.Linear(8, 3).to(DEVICE)
        scaler = torch.cuda.amp.GradScaler() if legacy else torch.amp.GradScaler("cuda")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        context = torch.cuda.amp.autocast() if legacy else torch.autocast("cuda", dtype=torch.float16)
        with context:
            out = model(WINDOWS.to(DEVICE))
        assert out.dtype == torch.float16
        scaler.scale(out.float().pow(2).mean()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() > 0

    def test_hooks_see_the_device(self):
        leaf, seen = torch.ones(3, device=DEVICE, requires_grad=True), []
        leaf.register_hook(lambda gradient: seen.append(gradient.device.type))
        leaf.register_post_accumulate_grad_hook(lambda tensor: seen.append(tensor.grad.device.type))
        (leaf * 2).sum().backward()
        assert seen == ["cuda", "cuda"]

    def test_module_backward_hooks_see_the_device(self):
        model, seen = nn.Linear(2, 2).to(DEVICE), []
        model.register_full_backward_hook(lambda module, inputs, outputs: seen.append(outputs[0].is_cuda))
        model(ones(1, 2)).sum().backward()
        assert seen == [True]

    def test_node_hooks_see_the_device(self):
        leaf, seen = torch.ones(3, device=DEVICE, requires_grad=True), []
        out = (leaf * 2).sum()
        out.grad_fn.register_hook(lambda inputs, outputs: seen.append(inputs[0].is_cuda))
        out.backward()
        assert seen == [True]

    def test_custom_functions_see_the_device(self):
        class Square(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                ctx.save_for_backward(x)
                return x * x

            @staticmethod
            def backward(ctx, gradient):
                (x,) = ctx.saved_tensors
                assert x.is_cuda and gradient.is_cuda
                return 2 * x * gradient

        leaf = torch.ones(3, device=DEVICE, requires_grad=True)
        Square.apply(leaf).sum().backward()
        assert leaf.grad.is_cuda

    def test_gradients_by_hand(self):
        leaf = torch.ones(3, device=DEVICE, requires_grad=True)
        (gradient,) = torch.autograd.grad((leaf**2).sum(), leaf)
        (first,) = torch.autograd.grad((leaf**3).sum(), leaf, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), leaf)
        assert gradient.is_cuda and first.is_cuda and second.is_cuda
        with torch.no_grad():
            leaf -= 0.1 * gradient
        assert leaf.is_cuda

    def test_a_cpu_scalar_parameter_keeps_its_gradient_at_home(self):
        scale = torch.tensor(2.0, requires_grad=True)
        (scale * ones(3)).sum().backward()
        assert scale.grad.item() == 3 and not scale.grad.is_cuda

    @pytest.mark.parametrize("reentrant", [False, True])
    def test_checkpointing(self, reentrant):
        from torch.utils.checkpoint import checkpoint

        model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)).to(DEVICE)
        rows = torch.ones(2, 3, device=DEVICE, requires_grad=True)
        checkpoint(model, rows, use_reentrant=reentrant).sum().backward()
        assert model[0].weight.grad.is_cuda and rows.grad.is_cuda


class TestLoading:
    def test_batches_of_a_cpu_dataset(self):
        loader = DataLoader(Subset(TensorDataset(IMAGES, CLASSES), range(8)), batch_size=4)
        assert all(not x.is_cuda and x.to(DEVICE).is_cuda and not y.is_cuda for x, y in loader)

    def test_batches_of_a_dataset_on_the_device(self):
        loader = DataLoader(TensorDataset(IMAGES.to(DEVICE), CLASSES.to(DEVICE)), batch_size=4, shuffle=True)
        assert all(x.is_cuda and y.is_cuda for x, y in loader)

    def test_nested_samples(self):
        loader = DataLoader([{"x": torch.ones(2), "y": 1}] * 8, batch_size=4)
        assert all(batch["x"].to(DEVICE).is_cuda for batch in loader)

    def test_workers_and_pinned_memory(self):
        data = TensorDataset(IMAGES, CLASSES)
        loader = DataLoader(data, batch_size=16, pin_memory=True, num_workers=1)
        for x, _ in loader:
            assert x.is_pinned() and x.to(DEVICE, non_blocking=True).is_cuda


def test_the_mark_can_be_read_with_modes_off():
    tensor = ones(2)
    with torch._C._DisableTorchDispatch():
        assert is_accelerated(tensor.view(2, 1)) and not is_accelerated(torch.ones(1))


@pytest.mark.parametrize("move", ["to", "cuda", "with"])
def test_lazy_layers_are_made_where_they_were_put(move: str) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.LazyLinear(2))

    if move == "with":
        with torch.device("cuda"):
            model = build()
    else:
        model = build().to("cuda") if move == "to" else build().cuda()
    out = model(torch.ones(3, 5, device="cuda"))
    out.sum().backward()
    assert out.is_cuda
    assert all(p.is_cuda and p.grad.is_cuda for p in model.parameters())
    assert all(buffer.is_cuda for buffer in model.buffers())
