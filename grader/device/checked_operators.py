"""Operators whose CUDA kernels check devices in generated code.

Found by reading PyTorch's own operator list (`native_functions.yaml`, which ships with torch) the way its
code generator does: operators with a CUDA kernel, more than one tensor, and no `device_check: NoCheck`.
Structured kernels name their wrapper `wrapper_CUDA_<name>[_out][_<overload>]`, the others
`wrapper_CUDA_<overload>_<name>[_out]`. Quantised, sparse, vendor-only and backward operators are left out:
a training script does not call them. A test repeats the derivation.
"""

from __future__ import annotations

_STRUCTURED_NAMES = """
_addmm_activation _addmm_activation.out _linalg_det.result _linalg_eigh.eigenvalues
_linalg_slogdet.sign _linalg_solve_ex _linalg_solve_ex.result _linalg_svd.U _log_softmax.out
_softmax.out acosh.out adaptive_max_pool2d.out adaptive_max_pool3d.out addmm addmm.out addmm_ addmv
addmv.out addmv_ amax.out amin.out argmax.out argmin.out asinh.out atanh.out avg_pool2d.out
avg_pool3d.out baddbmm baddbmm.out baddbmm_ bmm bmm.out cat cat.out clamp.Tensor clamp_.Tensor
clamp_max.Tensor clamp_max_.Tensor clamp_min.Tensor clamp_min_.Tensor exp2.out fractional_max_pool2d
fractional_max_pool2d.output fractional_max_pool3d fractional_max_pool3d.output gather gather.out
gcd gcd.out gcd_ glu.out hash_tensor.out i0.out igamma igamma.out igamma_ igammac igammac.out
igammac_ index_add index_add.out index_add_ index_copy index_copy.out index_copy_ index_reduce
index_reduce.out index_reduce_ isin.Scalar_Tensor_out isin.Tensor_Scalar_out isin.Tensor_Tensor
isin.Tensor_Tensor_out isneginf.out isposinf.out lcm lcm.out lcm_ linalg_cholesky_ex.L linalg_cross
linalg_cross.out linalg_inv_ex.inverse linalg_ldl_factor_ex.out linalg_ldl_solve
linalg_ldl_solve.out linalg_lu.out linalg_lu_factor_ex.out linalg_lu_solve linalg_lu_solve.out
linalg_qr.out linalg_vector_norm.out logaddexp logaddexp.out logaddexp2 logaddexp2.out lu_unpack
lu_unpack.out max_pool2d_with_indices.out mish.out mm mm.out nextafter nextafter.out nextafter_
nll_loss_forward nll_loss_forward.output reflection_pad1d.out reflection_pad3d.out
replication_pad1d.out replication_pad2d.out replication_pad3d.out scatter.reduce scatter.reduce_out
scatter.src scatter.src_out scatter.value scatter.value_out scatter.value_reduce
scatter.value_reduce_out scatter_.reduce scatter_.src scatter_.value scatter_.value_reduce
scatter_add scatter_add.out scatter_add_ scatter_reduce.two scatter_reduce.two_out
scatter_reduce_.two sgn.out signbit.out silu.out sinc.out sort.values_stable special_entr.out
special_erfcx.out special_i0e.out special_i1.out special_i1e.out special_log_ndtr.out
special_ndtri.out topk.values triangular_solve triangular_solve.X tril.out triu.out
"""
STRUCTURED = frozenset(_STRUCTURED_NAMES.split())

_PLAIN_NAMES = """
_amp_update_scale_ _batch_norm_with_update _batch_norm_with_update.out _cdist_forward
_cholesky_solve_helper _chunk_cat _chunk_cat.out _compute_linear_combination
_compute_linear_combination.out _ctc_loss _ctc_loss.Tensor _cummax_helper _cummin_helper
_dirichlet_grad _embedding_bag _embedding_bag_forward_only _fft_c2c.out _fft_c2r.out _fft_r2c.out
_grouped_mm _int_mm _int_mm.out _logcumsumexp.out _masked_scale _masked_softmax
_native_batch_norm_legit _native_batch_norm_legit.no_stats _native_batch_norm_legit.no_stats_out
_native_batch_norm_legit.out _native_multi_head_attention _philox_normal_ _philox_uniform_
_prelu_kernel _standard_gamma_grad _transform_bias_rescale_qkv _weight_norm_interface
adaptive_avg_pool2d.out adaptive_avg_pool3d.out addbmm addbmm.out addbmm_ addmm.dtype
addmm.dtype_out addr addr.out baddbmm.dtype baddbmm.dtype_out batch_norm_elemt batch_norm_elemt.out
batch_norm_gather_stats batch_norm_gather_stats_with_counts batch_norm_update_stats bincount
bmm.dtype bmm.dtype_out bucketize.Tensor bucketize.Tensor_out cholesky.out cholesky_inverse.out
col2im.out complex.out conj_physical.out dot embedding_renorm_ equal frexp.Tensor_out geqrf.a
glu_jvp grid_sampler_2d grid_sampler_3d histc.out huber_loss huber_loss.out im2col.out index_select
index_select.out kthvalue.values linalg_eig.out linalg_eigvals.out linalg_householder_product
linalg_householder_product.out linalg_lstsq.out linalg_solve_triangular linalg_solve_triangular.out
logit.out masked_scatter_ masked_select masked_select.out max_pool3d_with_indices.out max_unpool2d
max_unpool2d.out max_unpool3d max_unpool3d.out median.dim_values mm.dtype mm.dtype_out
multi_margin_loss multi_margin_loss.out multilabel_margin_loss_forward
multilabel_margin_loss_forward.output multinomial.out mvlgamma.out nan_to_num.out
nanmedian.dim_values nansum.out native_batch_norm native_batch_norm.out native_group_norm
native_layer_norm nll_loss2d_forward nll_loss2d_forward.output nonzero.out nonzero_static.out
normal.Tensor_Tensor normal.Tensor_Tensor_out normal.Tensor_float_out normal.float_Tensor_out ormqr
ormqr.out polar.out put_ reflection_pad2d.out rrelu_with_noise rrelu_with_noise.out
rrelu_with_noise_ searchsorted.Scalar_out searchsorted.Tensor searchsorted.Tensor_out
split_with_sizes_copy.out sspaddmm.out take take.out vdot
"""
PLAIN = frozenset(_PLAIN_NAMES.split())
