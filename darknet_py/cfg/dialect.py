"""Which dialect a cfg is in: what AlexeyAB's Darknet reads in one and the original does not.

Some of that makes another network of the same text, or other boxes, or another order of the weights file. Such a cfg is
refused, unless it is said that it is to be read as the original would (`dialect="darknet"`). The rest, which matters to
training or to nothing at all, is passed over with a warning as any unknown key.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from darknet_py.cfg.section import Entry, Section
from darknet_py.errors import CfgError, DarknetError, Location, shown

DARKNET: Final = "darknet"
OTHER: Final = "AlexeyAB's Darknet"
NAMED: Final = 3  # kinds of places that the error names

Changes = Callable[[Section, str], bool]  # whether this value changes outputs, boxes or the order of weights

SECTIONS: Final = frozenset((
    "Gaussian_yolo", "sam", "scale_channels", "conv_lstm", "history", "local_avgpool", "local_avg", "reorg3d",
    "contrastive", "implicit", "empty", "silence",
))  # fmt: skip
ACTIVATIONS: Final = frozenset((
    "mish", "swish", "hard_mish", "relu6", "gelu", "revleaky", "normalize_channels", "normalize_channels_softmax",
    "normalize_channels_softmax_maxval",
))  # fmt: skip
ALIASES: Final = {"network": "net", "conv": "convolutional", "max": "maxpool"}


def known(dialect: str | None) -> str | None:
    """The dialect, or `DarknetError` where there is none of that name; None is the original's, refusing the other's."""
    if dialect in (None, DARKNET):
        return dialect
    later = "; alexeyab is not built yet" if dialect == "alexeyab" else ""
    raise DarknetError(f"there is no dialect {shown(dialect, 60)!r}; there is {DARKNET}{later}")


def refuse_other(sections: Sequence[Section]) -> None:
    """Raise `CfgError` where AlexeyAB's Darknet makes something else of these sections than the original does."""
    found: dict[str, list[Location]] = {}
    for what, where in _differences(sections):
        found.setdefault(what, []).append(where)
    if not found:
        return
    first = next(iter(found.values()))[0]
    named = [f"{what} ({_lines(places)})" for what, places in list(found.items())[:NAMED]]
    count = sum(map(len, found.values()))
    more = "" if len(found) <= NAMED else f", and more: {count} places in all"
    raise CfgError(
        f"this cfg is for {OTHER}, whose dialect is not built yet: {', '.join(named)}{more}; "
        f'--dialect {DARKNET} (dialect="{DARKNET}" in Python) reads it as the original would, with other outputs',
        first,
    )


def reads(section: str, key: str) -> bool:
    """Whether AlexeyAB's Darknet has this key in a section where the original has none."""
    section = ALIASES.get(section, section)
    return any(key in table.get(name, ()) for table in (CHANGING, QUIET) for name in (section, "layer"))


def _lines(places: Sequence[Location]) -> str:
    others = f" and {len(places) - 1} more" if len(places) > 1 else ""
    return f"line {places[0].line}{others}"


def _differences(sections: Iterable[Section]) -> Iterator[tuple[str, Location]]:
    """What is not the original's, in the order of the file."""
    for section in sections:
        if section.type in SECTIONS:
            yield f"[{section.type}]", section.where
            continue
        rules = CHANGING.get(ALIASES.get(section.type, section.type), {})
        for entry in section.entries:
            if _changes(entry, section, rules) and section.find(entry.key) is entry:
                yield f"[{section.type}] {shown(entry, 60)}", entry.where


def _changes(entry: Entry, section: Section, rules: Mapping[str, Changes]) -> bool:
    if entry.key == "activation":
        return entry.value in ACTIVATIONS
    rule = rules.get(entry.key)
    return rule is not None and rule(section, entry.value)


def _always(_section: Section, _value: str) -> bool:
    return True


def _unless(neutral: float) -> Changes:
    """Every value but one."""
    return lambda _section, value: _number(value) != neutral


def _word(*words: str) -> Changes:
    """These words alone."""
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


CHANGING: Final[Mapping[str, Mapping[str, Changes]]] = {
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
}  # fmt: skip

# Keys that matter to training alone, to speed, to what is printed or to nothing; "layer" stands for every layer.
QUIET: Final[Mapping[str, frozenset[str]]] = {
    section: frozenset(keys.split())
    for section, keys in {
        "net": """learning_rate_min sgdr_cycle sgdr_mult seq_scales track augment_speed sequential_subdivisions
            try_fix_nan weights_reject_freq equidistant_point badlabels_rejection_percentage
            num_sigmas_reject_badlabels ema_alpha use_cuda_graph loss_scale dynamic_minibatch optimized_memory
            workspace_size_limit_MB flip blur gaussian_noise mixup cutmix mosaic letter_box mosaic_bound contrastive
            contrastive_jit_flip contrastive_color unsupervised label_smooth_eps resize_step attention adversarial_lr
            max_chart_loss show_receptive_field""",
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
            cls_normalizer delta_normalizer iou_loss iou_thresh_kind iou_thresh beta_nms resize focal_loss show_details
            track_history_size sim_thresh dets_for_track dets_for_show track_ciou_norm embedding_layer""",
        "region": "focal_loss resize",
        "detection": "resize",
    }.items()
}
