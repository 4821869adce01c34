"""All limits of all benches: a row above its limit makes `--check` fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# costs
PARSE_YOLOV2: Final = 20  # ms, reading yolov2.cfg
PARSE: Final = 150  # ms, reading any other cfg
LOAD: Final = 1.5  # times numpy.fromfile, into a new network
LOAD_MEMORY: Final = 64  # MB beyond an idle torch and the parameters
CONVERT: Final = 2  # times copying the file
CONVERT_MEMORY: Final = 2  # times the parameters, beyond an idle torch
FORWARD_MEMORY: Final = 1.3  # times the tensors that have to live at a time
DECODE: Final = 5  # % of the forward pass
START: Final = 200  # ms beyond an empty Python
START_SUMMARY: Final = 300  # ms beyond importing torch

# inference
FROM_PLAIN: Final = 100  # millionths of the output's range
BUILD: Final[Mapping[str, float]] = {"yolov2": 2.0}  # s, by network
ENGINE_MEMORY: Final = 2.5  # times the parameters
SECOND_SIZE_MEMORY: Final = 1.0  # times the parameters
NETWORKS: Final = ("yolov2", "yolov3")  # those that the limits below are for
SIZE: Final = (416, 416)
PEERS: Final[Mapping[str, Mapping[str, Mapping[int, float]]]] = {  # by type, peer and batch: times the peer's time
    "fp32": {
        "onnxruntime": {1: 0.80, 8: 0.80},
        "openvino-fp32": {1: 0.80, 8: 0.80},
        "opencv": {1: 0.80, 8: 0.80},
        "ncnn": {1: 1.10, 8: 1.00},
    },
    "bf16": {"openvino": {1: 1.05, 8: 1.05}},
}

# end-to-end
LIST: Final = 1.1  # times the forward passes, on a CPU
COLD_START: Final = 600  # ms beyond importing torch and reading the weights

# train
STEP: Final = 0.8  # times the step of a plain loop

# loader
PICTURE: Final = 1000 / 60  # ms a picture, with one worker at most
