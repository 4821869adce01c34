"""Other engines for the CPU, each made ready for a case: ONNX Runtime, OpenVINO, OpenCV, ncnn.

Each gets the number of threads that torch has, and what makes it fast for one fixed shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darknet_py import weights
from darknet_py.cfg.writer import dumps
from darknet_py.convert import onnx
from darknet_py.convert.formats import Options
from tools.bench.contest.cases import Case
from tools.bench.measuring import BenchError
from tools.bench.peers import ncnn as ncnn_files
from tools.bench.peers.runner import REDUCED, Build, Runner, needed


def onnx_file(case: Case) -> Path:
    """The network as ONNX, written once for each size."""
    path = case.file(".onnx")
    if not path.exists():
        onnx.write(case.network, path, Options())
    return path


def onnx_runtime(case: Case) -> Runner:
    """ONNX Runtime as it is by default, the batch fixed."""
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    options.add_free_dimension_override_by_name("batch", case.task.batch)
    session = runtime.InferenceSession(str(onnx_file(case)), options, providers=["CPUExecutionProvider"])
    return Runner(partial(session.run, None, {"images": case.x.numpy()}))


def openvino(case: Case, precision: str | None = None) -> Runner:
    """OpenVINO for low latency, in that precision or in the one it takes by itself."""
    core = needed("openvino").Core()
    config = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    if precision is not None:
        config["INFERENCE_PRECISION_HINT"] = precision
    model = core.read_model(str(onnx_file(case)))
    model.reshape(list(case.x.shape))
    compiled = core.compile_model(model, "CPU", config)
    request, x = compiled.create_infer_request(), case.x.numpy()

    def call() -> list[Any]:
        found = request.infer({0: x}, share_inputs=True, share_outputs=True)
        return [found[output] for output in compiled.outputs]

    kind = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return Runner(call, f"computes in {kind}", Runner.tolerance if kind == "f32" else REDUCED)


def opencv(case: Case) -> Runner:
    """OpenCV's dnn module, which reads Darknet's files itself."""
    cv2 = needed("cv2")
    if not hasattr(cv2.dnn, "readNetFromDarknet"):
        raise BenchError(f"OpenCV {cv2.__version__} cannot read Darknet's files any more; 4.x can")
    cv2.setNumThreads(torch.get_num_threads())
    cfg_file, weights_file = case.file(".cfg"), case.file(".weights")
    if not weights_file.exists():
        cfg_file.write_text(dumps(case.network.graph.to_sections()), encoding="utf-8")
        weights.save(case.network, weights_file)
    net = cv2.dnn.readNetFromDarknet(str(cfg_file), str(weights_file))
    net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    names = net.getLayerNames()
    outputs = [[name for name in names if name.endswith(f"_{n}")][-1] for n in case.network.graph.outputs]
    x = case.x.numpy()

    def call() -> Sequence[Any]:
        net.setInput(x)
        found: Sequence[Any] = net.forward(outputs)
        return found

    return Runner(call)


def ncnn(case: Case, *, bf16: bool = False) -> Runner:
    """Ncnn in 32 bits, or with its storage in bf16."""
    module = needed("ncnn")
    param, binary = case.file(".param"), case.file(".bin")
    names = ncnn_files.write(case.network, param, binary)
    net = module.Net()
    net.opt.num_threads = torch.get_num_threads()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = bf16
    if hasattr(net.opt, "use_bf16_packed"):
        net.opt.use_bf16_packed = bf16
    if net.load_param(str(param)) or net.load_model(str(binary)):
        raise BenchError("ncnn cannot read what was written for it")
    inputs = _mats(module, case.x.numpy())

    def compute(mat: Any) -> list[np.ndarray]:
        extractor = net.create_extractor()
        extractor.input(ncnn_files.INPUT_NAME, mat)
        return [_array(extractor.extract(name)[1]) for name in names]

    def call() -> list[np.ndarray]:
        return [np.concatenate(outputs) for outputs in zip(*map(compute, inputs), strict=True)]

    note = "pictures one by one" if len(inputs) > 1 else ""
    return Runner(call, note, REDUCED if bf16 else Runner.tolerance)


def _mats(module: Any, x: np.ndarray) -> list[Any]:
    """The pictures as ncnn's matrices: one for all where it has batches, which is a little faster."""
    if not hasattr(module.Mat, "batch"):
        return [module.Mat(picture).clone() for picture in x]
    mat = module.Mat()
    n, c, h, w = x.shape
    mat.create(w, h, c, n=n)
    for number, picture in enumerate(x):
        np.array(mat.batch(number), copy=False)[...] = picture
    return [mat]


def _array(mat: Any) -> np.ndarray:
    if not hasattr(mat, "batch"):
        return np.array(mat)[None]
    return np.stack([np.array(mat.batch(number)) for number in range(mat.n)])


PEERS: Mapping[str, Build] = {
    "onnxruntime": onnx_runtime,
    "openvino-fp32": partial(openvino, precision="f32"),
    "openvino": openvino,
    "opencv": opencv,
    "ncnn": ncnn,
    "ncnn-bf16": partial(ncnn, bf16=True),
}
