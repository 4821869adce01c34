"""What AlexeyAB's Darknet reads in a cfg and no schema here does yet.

Some of it makes another network of the same text, or other boxes, or another order of the weights file; a cfg with that
is refused. The rest, which matters to training or to nothing at all, is passed over with a warning. A row goes when
a schema that is registered for the dialect reads it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from darknet_py.cfg.section import Entry, Section

Changes = Callable[[Section, str], bool]  # whether this value changes outputs, boxes or the order of weights


@dataclass(frozen=True)
class Unbuilt:
    """Sections, activations and keys that one program reads and this package does not."""

    sections: frozenset[str]
    activations: frozenset[str]
    changing: Mapping[str, Mapping[str, Changes]]  # keys of sections that make another network
    quiet: Mapping[str, frozenset[str]]  # and those that do not; "layer" stands for every layer

    def has_key(self, section: str, key: str) -> bool:
        """Whether a section, by its first name, has such a key."""
        return any(key in table.get(name, ()) for table in (self.changing, self.quiet) for name in (section, "layer"))

    def changes(self, name: str, section: Section, entry: Entry) -> bool:
        """Whether an entry of a section, whose first name is `name`, makes another network."""
        if entry.key == "activation":
            return entry.value in self.activations
        rule = self.changing.get(name, {}).get(entry.key)
        return rule is not None and rule(section, entry.value)


def _always(_section: Section, _value: str) -> bool:
    return True


def _unless(neutral: float) -> Changes:
    """Every value but one."""
    return lambda _section, value: _number(value) != neutral


def _word(*words: str) -> Changes:
    """These words only."""
    return lambda _section, value: value in words


def _beside(other: str, default: float) -> Changes:
    """A value that is not the one of another key."""
    return lambda section, value: _number(value) != _value(section, other, default)


def _dilates(section: Section, value: str) -> bool:
    return _number(value) != 1 and _value(section, "size", 1) != 1


def _normalizes(section: Section, value: str) -> bool:
    """`cbn` where `batch_normalize` is not given: then there are more weights."""
    return _number(value) != 0 and _value(section, "batch_normalize", 0) == 0


def _several(_section: Section, value: str) -> bool:
    """A second layer after a comma; what follows a # is a comment."""
    return bool(re.match(r"[^#;]*,[-+]?\d", value))


def _weighs(_section: Section, value: str) -> bool:
    return value != "none"


def _value(section: Section, key: str, default: float) -> float:
    entry = section.find(key)
    return default if entry is None else _number(entry.value)


def _number(text: str) -> float:
    """What atof makes of a text."""
    found = re.match(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", text, re.ASCII)
    return float(found.group()) if found else 0.0


OF_ALEXEYAB: Final = Unbuilt(
    sections=frozenset((
        "Gaussian_yolo", "sam", "scale_channels", "conv_lstm", "history", "local_avgpool", "local_avg", "reorg3d",
        "contrastive", "implicit", "empty", "silence",
    )),
    activations=frozenset((
        "mish", "swish", "hard_mish", "relu6", "gelu", "revleaky", "normalize_channels", "normalize_channels_softmax",
        "normalize_channels_softmax_maxval",
    )),
    changing={
        "net": {"policy": _word("sgdr")},
        "convolutional": {
            "stride_x": _beside("stride", 1), "stride_y": _beside("stride", 1), "dilation": _dilates,
            "antialiasing": _unless(0), "share_index": _always, "cbn": _normalizes,
        },
        "maxpool": {
            "stride_x": _beside("stride", 1), "stride_y": _beside("stride", 1), "maxpool_depth": _unless(0),
            "antialiasing": _unless(0), "maxpool_zero_nonmax": _unless(0),
        },
        "route": {"groups": _unless(1), "group_id": _unless(0)},
        "shortcut": {"from": _several, "weights_type": _weighs},
        "rnn": {"hidden": _beside("output", 1)},
        "crnn": {
            "output": _always, "hidden": _always, "size": _unless(3), "stride": _unless(1), "dilation": _unless(1),
            "pad": _unless(1), "groups": _unless(1), "xnor": _unless(0),
        },
        "yolo": {"scale_x_y": _unless(1), "new_coords": _unless(0), "nms_kind": _word("greedynms", "diounms")},
    },
    quiet={
        section: frozenset(keys.split())
        for section, keys in {
            "net": """learning_rate_min sgdr_cycle sgdr_mult seq_scales track augment_speed sequential_subdivisions
                try_fix_nan weights_reject_freq equidistant_point badlabels_rejection_percentage
                num_sigmas_reject_badlabels ema_alpha use_cuda_graph loss_scale dynamic_minibatch optimized_memory
                workspace_size_limit_MB flip blur gaussian_noise mixup cutmix mosaic letter_box mosaic_bound contrastive
                contrastive_jit_flip contrastive_color unsupervised label_smooth_eps resize_step attention
                adversarial_lr max_chart_loss show_receptive_field""",
            "layer": "clip dont_update burnin_update train_only_bn",
            "convolutional": """assisted_excitation bin_output sway rotate stretch stretch_sway angle grad_centr reverse
                coordconv stream wait_stream""",
            "maxpool": "out_channels",
            "route": "stream wait_stream",
            "shortcut": "weights_normalization",
            "dropout": "dropblock dropblock_size_rel dropblock_size_abs",
            "rnn": "logistic",
            "crnn": "padding",
            "yolo": """max_delta counters_per_class label_smooth_eps objectness_smooth iou_normalizer obj_normalizer
                cls_normalizer delta_normalizer iou_loss iou_thresh_kind iou_thresh beta_nms resize focal_loss
                show_details track_history_size sim_thresh dets_for_track dets_for_show track_ciou_norm
                embedding_layer""",
            "region": "focal_loss resize",
            "detection": "resize",
        }.items()
    },
)  # fmt: skip
