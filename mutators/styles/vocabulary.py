"""Words of the field that stand for each other in names."""

from __future__ import annotations

import builtins
import keyword

WHOLE: dict[str, tuple[str, ...]] = {
    "optimizer": ("opt", "optim_", "optimiser", "adjuster"),
    "model": ("net", "network", "learner", "mdl", "estimator"),
    "criterion": ("loss_fn", "objective", "loss_function", "cost_fn"),
    "loss": ("batch_loss", "objective_value", "cost", "loss_value"),
    "logits": ("scores", "out", "raw_scores", "preds"),
    "prediction": ("pred", "y_hat", "guess", "out"),
    "device": ("dev", "target_device", "run_device"),
    "scheduler": ("sched", "lr_scheduler", "lr_schedule"),
    "config": ("cfg", "conf", "settings", "hparams"),
    "history": ("log", "records", "epoch_log", "curve"),
    "final": ("summary", "last_metrics", "closing"),
    "epochs": ("num_epochs", "n_epochs", "total_epochs"),
    "max_epochs": ("num_epochs", "n_epochs", "epoch_limit"),
    "epoch": ("ep", "epoch_index", "epoch_no"),
    "learning_rate": ("lr", "base_lr", "step_scale"),
    "lr": ("learning_rate", "base_lr", "eta"),
    "weight_decay": ("wd", "l2", "l2_penalty"),
    "batch_size": ("bs", "minibatch", "batch_rows", "minibatch_size"),
    "hidden_size": ("hidden", "n_hidden", "hidden_units", "state_size"),
    "hidden": ("hidden_units", "n_hidden", "hidden_dim"),
    "dropout": ("drop", "p_drop", "dropout_p", "drop_rate"),
    "lr_decay": ("lr_gamma", "gamma", "decay_rate"),
    "size": ("count", "batch_len", "rows_each"),
    "best_val_loss": ("lowest_val_loss", "best_loss", "least_val_loss"),
    "seed": ("random_seed", "rng_seed", "random_state"),
    "rng": ("generator", "np_rng", "rand"),
    "generator": ("rng", "gen", "random_source"),
    "order": ("perm", "permutation", "idx", "row_order"),
    "shuffled": ("perm", "permutation", "row_order"),
    "mean": ("mu", "centre", "average", "offset"),
    "std": ("sigma", "spread", "deviation", "divisor"),
    "grad_clip": ("clip_norm", "max_norm", "clip_at"),
    "features": ("inputs", "feats", "xb", "columns"),
    "labels": ("targets", "classes", "y_true", "answers"),
    "x": ("inputs", "feats", "values"),
    "y": ("targets", "truth", "answers"),
    "xb": ("x_batch", "batch_x", "inputs_b"),
    "yb": ("y_batch", "batch_y", "targets_b"),
    "h0": ("initial_state", "state0", "start_state"),
    "data": ("archive", "arrays_in", "table", "raw"),
    "archive": ("npz", "data", "bundle"),
    "arrays": ("fields", "extras", "rest"),
    "file": ("f", "fh", "handle", "out_file"),
    "f": ("fh", "handle", "out_file"),
    "key": ("k", "name_", "field_name"),
    "value": ("v", "val", "entry"),
    "i": ("start", "j", "lo", "begin"),
    "start": ("i", "lo", "begin", "offset"),
    "pick": ("idx", "chosen", "take"),
    "chunk": ("part", "piece", "block"),
    "part": ("chunk", "piece", "block"),
    "batch": ("chunk", "minibatch", "part"),
    "correct": ("hits", "n_correct", "num_right"),
    "total_loss": ("running_loss", "loss_sum", "summed_loss", "epoch_loss"),
    "losses": ("batch_losses", "loss_list", "step_losses"),
    "loader": ("batches", "data_loader", "dl", "feed"),
    "predict": ("infer", "score_rows", "run_model", "forward_all"),
    "evaluate": ("assess", "measure", "check", "evaluate_model"),
    "test": ("evaluate", "assess", "measure", "check"),
    "train": ("fit", "train_epoch", "run_epoch", "one_epoch"),
    "train_one_epoch": ("train_epoch", "run_epoch", "fit_epoch", "epoch_pass"),
    "main": ("run", "entry", "run_job", "go"),
    "standardise": ("scale_columns", "to_unit", "rescale", "normalise"),
    "minibatches": ("batches", "iter_batches", "batch_stream"),
    "inputs": ("to_inputs", "make_inputs", "prepare_x"),
    "targets": ("to_targets", "make_targets", "prepare_y"),
    "best_state": ("best_weights", "kept_state", "saved_state"),
    "states": ("outputs", "hidden_states", "seq_out"),
    "last": ("final_state", "tail", "summary_state"),
    "row": ("row_ids", "ids"),
    "rows": ("row_ids", "ids", "records"),
    "r_squared": ("r2", "r2_value", "explained"),
    "accuracy": ("acc", "hit_rate", "share_correct"),
}
"""A name → names that mean the same. Whole names come before their words."""

WORDS: dict[str, tuple[str, ...]] = {
    "num": ("n", "nb"),
    "n": ("num", "nb"),
    "idx": ("ix", "indices", "index"),
    "ix": ("idx", "indices", "pos"),
    "val": ("valid", "dev"),
    "held_out": ("eval", "holdout", "val", "test"),
    "share": ("fraction", "frac", "part"),
    "fraction": ("share", "frac", "ratio"),
    "images": ("imgs", "pictures", "glyphs"),
    "image": ("img", "picture"),
    "labels": ("targets", "y", "classes"),
    "features": ("feats", "inputs", "columns"),
    "loader": ("batches", "dl", "feed"),
    "set": ("data", "ds", "dataset"),
    "output": ("out", "pred", "result"),
    "loss": ("cost", "objective"),
    "channels": ("ch", "maps"),
    "load": ("read", "fetch", "open"),
    "split": ("divide", "partition", "cut"),
    "block": ("stage", "unit", "group"),
    "conv": ("convolution", "cnv"),
    "classes": ("labels", "categories", "kinds"),
    "rows": ("idx", "index", "ix"),
    "mean": ("mu", "avg", "centre"),
    "std": ("sigma", "sd", "spread"),
    "best": ("top", "kept"),
    "score": ("scoring", "unlabelled", "service"),
    "sensors": ("signals", "inputs"),
    "window": ("windows", "series", "readings"),
    "random": ("rand", "shuffled"),
    "width": ("base", "filters"),
    "in": ("inp", "n_in"),
    "out": ("outp", "n_out"),
    "norm": ("bn", "bnorm"),
    "fc": ("linear", "dense", "lin"),
    "head": ("final", "readout", "top"),
    "gru": ("rnn", "recurrent", "encoder"),
    "net": ("network", "model"),
    "classifier": ("net", "network", "model"),
    "tabular": ("table", "row"),
    "glyph": ("stamp", "symbol", "mark"),
    "wear": ("damage", "abrasion"),
    "hidden": ("inner", "mid"),
    "dropout": ("drop",),
    "epoch": ("pass",),
    "total": ("sum", "all"),
    "batch": ("minibatch", "chunk"),
}
"""A part of a name → parts that mean the same, used alike in every name of one style."""

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "features": ("backbone", "body", "encoder", "conv_layers"),
    "classifier": ("head", "readout", "top"),
    "head": ("out", "readout", "final", "output_layer"),
    "gru": ("rnn", "recurrent", "encoder"),
    "dropout": ("drop", "p_drop_", "regulariser"),
    "hidden_size": ("n_hidden", "units", "state_size"),
}
"""An attribute that a class keeps to itself → names that mean the same."""

TWINS = {"std": "mean", "y": "x", "yb": "xb", "targets": "inputs"}
"""Names that are reworded like another one, whose synonyms stand in the same order."""

SPLIT_WORDS = frozenset({"train", "val", "valid", "dev", "test", "score", "heldout", "held_out", "all"})
"""Words that stand before or after what they qualify: `x_train`, `train_x`."""

_MODULE_API = """
    T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda double
    dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half
    ipu load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
    register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook
    register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook
    register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory state_dict to
    to_empty train training type xpu zero_grad weight bias data grad device dtype shape
"""
MODULE_API = frozenset(_MODULE_API.split())
"""What torch.nn.Module and its neighbours call their own: such an attribute is neither renamed nor made."""

RESERVED = (
    frozenset(dir(builtins))
    | frozenset(keyword.kwlist)
    | frozenset(keyword.softkwlist)
    | frozenset({"np", "torch", "nn", "F", "optim", "json", "os", "sys", "math", "self", "cls", "numpy"})
)
"""No new name shadows one of these."""
