"""`detector map`."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from darknet_py.cli.evaluate import arguments, prepared, progress_bar, tell
from darknet_py.cli.options import Verb, decoding_arguments, fraction, option, switch
from darknet_py.errors import CfgError, Location

if TYPE_CHECKING:
    from darknet_py.evaluate import Scores


def _map_arguments(parser: ArgumentParser) -> None:
    arguments(parser)
    decoding_arguments(parser, nms=0.45)
    option(
        parser, "thresh", fraction, 0.25, "score above which detections count for precision and recall (default: 0.25)"
    )
    option(parser, "iou_thresh", fraction, 0.5, "overlap that counts as found (default: 0.5)")
    option(parser, "points", int, 0, "recalls at which precision is averaged: 0 for the area, 11, 101 (default: 0)")
    option(parser, "pr", str, None, "draw precision over recall into this file (.png, .svg, .pdf)")
    switch(parser, "flip", "average every picture with its mirror image")


def _map(args: Namespace) -> int:
    from darknet_py.evaluate import measure
    from darknet_py.evaluate.truths import valid_paths

    data, model, settings = prepared(args, 0.005)
    with progress_bar(args) as progress:
        scores = measure(
            model,
            valid_paths(data),
            batch=args.batch,
            nms=args.nms,
            hier=args.hier,
            classes=settings.map,
            flip=args.flip,
            progress=progress,
        )
    tell(scores.problems)
    if not len(scores.truths):
        raise CfgError("the label files of its pictures name not a single box", Location(str(data.path("valid"))))
    table = scores.alexeyab(args.thresh, args.iou_thresh, args.points)
    if args.json:
        print(json.dumps(scores.to_dict() | {"alexeyab": table.to_dict()}))
    else:
        print(table)
        print(_benchmarks(scores))
    if args.pr:
        _draw(scores, args)
    return 0


def _benchmarks(scores: Scores) -> str:
    """One line per class and the mean, by the rules of VOC and COCO."""
    numbers = scores.to_dict()
    columns = {"voc07": "VOC 2007", "area": "VOC 2010", "coco50": "COCO .5", "coco": "COCO .5:.95"}
    rows = [(row["name"], row["truths"], row) for row in numbers["classes"] if row["truths"]]
    rows.append(("mean", len(scores.truths), numbers["mean_average_precision"]))
    width = max(len(name) for name, _, _ in rows)
    lines = [f"\n {'':{width}}  {'truths':>8}" + "".join(f"{title:>13}" for title in columns.values())]
    for name, truths, row in rows:
        lines.append(f" {name:{width}}  {truths:8d}" + "".join(f"{row[key] * 100:12.2f}%" for key in columns))
    coco = ", ".join(f"{key} {value:.3f}" for key, value in numbers["coco"].items() if value is not None)
    return "\n".join((*lines, f"\n COCO: {coco}"))


def _draw(scores: Scores, args: Namespace) -> None:
    from darknet_py.charts import Curve, precision_recall_chart

    averages = scores.average_precisions(args.iou_thresh)
    curves = []
    for label in scores.truth_counts.nonzero()[:, 0].tolist():
        precision, recall, _ = scores.precision_recall(label, args.iou_thresh)
        curves.append(Curve(scores.name(label), precision.tolist(), recall.tolist(), float(averages[label])))
    precision_recall_chart(curves, args.pr, title=f"IoU {args.iou_thresh:g}, mAP {float(averages.nanmean()):.3f}")


VERBS = {
    "detector map": Verb("measure mean average precision by VOC's, COCO's and AlexeyAB's rules", _map_arguments, _map),
}
