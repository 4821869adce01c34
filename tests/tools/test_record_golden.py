"""tools/record_golden.py: its text, its arguments, and recordings from a library written for the test."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools import record_golden as tool

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
REAL = os.environ.get("DARKNET_PY_LIBDARKNET", "")


# Each layer but [route] adds its index + 1 and the digit in the weights file; [softmax] states no shape.
FAKE = r"""
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int w, h, c; float *data; } image;
typedef struct { float box[4]; int classes; float *prob, *mask; float objectness; int sort_class; } detection;
typedef struct { int w, h, batch, layers; float bias; char types[32][32]; float *outputs[32]; } network;

static int size(network *net) { return net->w * net->h * 3; }

network *load_network(char *cfg, char *weights, int clear) {
    network *net = calloc(1, sizeof(network));
    char line[256];
    FILE *file = fopen(cfg, "r");
    net->layers = -1;
    net->batch = 1;
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "width=%d", &net->w) + sscanf(line, "height=%d", &net->h) > 0) continue;
        if (sscanf(line, "batch=%d", &net->batch) == 1) continue;
        if (line[0] != '[') continue;
        if (!strncmp(line, "[exit]", 6)) { puts("no such thing"); exit(0); }
        if (!strncmp(line, "[crash]", 7)) raise(SIGFPE);
        if (++net->layers > 0) strncpy(net->types[net->layers - 1], line, 31);
    }
    fclose(file);
    if (weights) { file = fopen(weights, "r"); net->bias = fgetc(file) - '0'; fclose(file); }
    return net;
}
void save_weights(network *net, char *path) { FILE *file = fopen(path, "w"); fputs("0", file); fclose(file); }
int network_inputs(network *net) { return size(net); }
int network_outputs(network *net) { return size(net); }
int network_width(network *net) { return net->w; }
int network_height(network *net) { return net->h; }
float *network_predict(network *net, float *input) {
    for (int i = 0; i < net->layers; ++i) {
        int adds = strncmp(net->types[i], "[route]", 7) != 0;
        net->outputs[i] = malloc(size(net) * net->batch * sizeof(float));
        for (int k = 0; k < size(net) * net->batch; ++k)
            net->outputs[i][k] = (i ? net->outputs[i - 1] : input)[k] + adds * (i + 1 + net->bias);
    }
    return net->outputs[net->layers - 1];
}
image get_network_image_layer(network *net, int i) {
    image stated = {net->w, net->h, 3, net->outputs[i]}, none = {0};
#ifdef GPU
    stated.data = calloc(size(net) * net->batch, sizeof(float));
#endif
    return strncmp(net->types[i], "[softmax]", 9) ? stated : none;
}
image load_image_color(char *path, int w, int h) { image im = {5, 7, 3, 0}; return im; }
image letterbox_image(image im, int w, int h) {
    image boxed = {w, h, 3, malloc(w * h * 3 * sizeof(float))};
    for (int k = 0; k < w * h * 3; ++k) boxed.data[k] = k;
    return boxed;
}
detection *get_network_boxes(network *net, int w, int h, float low, float hier, int *map, int r, int *num) {
    detection *boxes = calloc(*num = 2, sizeof(detection));
    for (int i = 0; i < 2; ++i) {
        detection one = {{w, h, low, hier}, 0, calloc(3, sizeof(float)), 0, i + 1, 0};
        one.prob[i] = 0.5;
        boxes[i] = one;
    }
    return boxes;
}
void do_nms_sort(detection *boxes, int total, int classes, float nms) { boxes[0].prob[classes - 1] = nms; }
#ifdef GPU
void forward_network_gpu(network *net) {}
#endif
#ifdef OTHER_TREE
void load_network_custom(void) {}
#endif
"""

CFG = "# text\n[net]\nbatch=1\nwidth=4\nheight=2\n\n[convolutional]\n[softmax]\n[region]\nclasses=3\n"


def build(folder: Path, flag: str) -> Path:
    """Compile the library above with one macro defined."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) to build a library with")
    source, library = folder / "fake.c", folder / "libfake.so"
    source.write_text(FAKE)
    subprocess.run([compiler, "-shared", "-fPIC", f"-D{flag}", "-o", library, source], check=True)
    return library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("cpu"), "CPU")


def recorded(args: Sequence[object], out: Path) -> dict[str, np.ndarray]:
    assert tool.main([str(arg) for arg in args]) == 0
    with np.load(out) as found:
        return dict(found)


def refused(args: Sequence[object], capsys: pytest.CaptureFixture[str]) -> str:
    assert tool.main([str(arg) for arg in args]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_sections_are_split_and_cut() -> None:
    sections = tool.split_sections("# a\n[net]\nw=1\n [conv olutional] \nx=2\n#[no]\n[max]\n")
    assert sections == ["# a\n[net]\nw=1", " [conv olutional] \nx=2\n#[no]", "[max]\n"]
    assert [tool.section_type(section) for section in sections] == ["[net]", "[convolutional]", "[max]"]
    assert tool.cut(sections, 0) == "\n".join([*sections[:2], "[route]", "layers=-1", ""])
    assert tool.split_sections(tool.cut(sections, 1))[-1] == "[route]\nlayers=-1\n"


@given(st.lists(st.sampled_from(["[net]", " [ a ]", "x=[1]", "#[c]", "", "\t", "y=2\r"]), max_size=12))
def test_splitting_loses_nothing(lines: list[str]) -> None:
    text = "\n".join(lines)
    sections = tool.split_sections(text)
    assert "\n".join(sections) == text
    assert len(sections) == max(1, sum(line.strip().startswith("[") for line in lines))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("batch=4", 4),
        (" b atch = 1 6 #no", 16),
        ("batch=2\nbatch=3", 2),
        ("#batch=5", 7),
        ("batch=x", 0),
        ("batch", 7),
    ],
)
def test_integers_are_read_as_atoi_reads_them(text: str, value: int) -> None:
    assert tool.cfg_integer(text, "batch", 7) == value


def test_rows_of_input() -> None:
    assert tool.network_batch("[net]\nbatch=8\nsubdivisions=4\ntime_steps=3") == 6
    assert tool.network_batch("[net]") == 1
    for text in ("batch=1\nsubdivisions=2", "subdivisions=0", "batch=-1", "time_steps=0"):
        with pytest.raises(tool.RecordError, match="no rows of input"):
            tool.network_batch(text)


def test_bad_arguments_end_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg, out, text = tmp_path / "a.cfg", tmp_path / "a.npz", tmp_path / "text"
    cfg.write_text(CFG)
    text.write_text("no cfg, no library, no recording\n")
    assert "required: out" in refused([text, cfg], capsys)
    assert "invalid float value: 'x'" in refused([text, cfg, out, "--nms", "x"], capsys)
    assert "must not be negative" in refused([text, cfg, out, "--seed", "-1"], capsys)
    assert "must not be negative" in refused([text, cfg, out, "--size", "3", "-4"], capsys)
    assert "not allowed with" in refused([text, cfg, out, "--image", text, "--input", text], capsys)
    assert f"{tmp_path}/no.so: no such file" in refused([tmp_path / "no.so", cfg, out], capsys)
    assert f"{tmp_path}/no.cfg: no such file" in refused([text, tmp_path / "no.cfg", out], capsys)
    assert "no such folder" in refused([text, cfg, tmp_path / "no" / "a.npz"], capsys)
    assert f"{text}: not a cfg" in refused([text, text, out], capsys)
    assert f"{text}: not an .npz file" in refused([text, cfg, out, "--input", text], capsys)
    assert "cannot be loaded" in refused([text, cfg, out], capsys)
    cfg.write_text("[net]\nbatch=2\n[softmax]\n")
    assert "no boxes to record: the last section is [softmax]" in refused([text, cfg, out, "--nms", ".4"], capsys)
    assert "batch=1" in refused([text, cfg, out, "--image", text], capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.cfg", "text"]


def test_layers_with_and_without_a_shape(library: Path, tmp_path: Path) -> None:
    cfg, weights, out = tmp_path / "a.cfg", tmp_path / "a.weights", tmp_path / "b.npz"
    cfg.write_text(CFG.replace("batch=1", "batch=2"))
    weights.write_text("3")
    found = recorded([library, cfg, weights, out, "--seed", 5], out)
    rows = np.random.default_rng(5).random(2 * 4 * 2 * 3, dtype=np.float32)
    assert sorted(found) == ["input", "layer00", "layer01", "layer02", "shapes"]
    np.testing.assert_array_equal(found["input"], rows)
    for name, added in (("layer00", 4), ("layer01", 9), ("layer02", 15)):
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], rows + added, rtol=1e-6)
    np.testing.assert_array_equal(found["shapes"], [[4, 2, 3], [0, 0, 0], [4, 2, 3]])
    assert found["shapes"].dtype == np.int32


def test_a_gpu_build_gives_the_same(library: Path, tmp_path: Path) -> None:
    cfg, out = tmp_path / "a.cfg", tmp_path / "out.npz"
    cfg.write_text(CFG)
    expected = recorded([library, cfg, out], out)
    weights = tmp_path / "out.weights"
    found = recorded([build(tmp_path, "GPU"), cfg, weights, out, "--input", out], out)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_boxes_and_pictures(library: Path, tmp_path: Path) -> None:
    cfg, out = tmp_path / "a.cfg", tmp_path / "out.npz"
    cfg.write_text(CFG)
    found = recorded([library, cfg, out, "--thresh", ".25", "--size", 9, 8], out)
    assert {name: float(found[name]) for name in ("thresh", "hier_thresh", "nms")} == {
        "thresh": 0.25,
        "hier_thresh": 0.5,
        "nms": 0.45,
    }
    np.testing.assert_array_equal(found["image_size"], [9, 8])
    np.testing.assert_array_equal(found["head"], found["layer02"])
    before = [[9, 8, 0.25, 0.5, 1, 0.5, 0, 0], [9, 8, 0.25, 0.5, 2, 0, 0.5, 0]]
    np.testing.assert_array_equal(found["before_nms"], np.array(before, dtype=np.float32))
    np.testing.assert_allclose(found["after_nms"][0], [*before[0][:7], 0.45])

    found = recorded([library, cfg, tmp_path / "out.weights", out, "--image", cfg], out)
    np.testing.assert_array_equal(found["input"], np.arange(24, dtype=np.float32))
    np.testing.assert_array_equal(found["before_nms"][:, :2], [[5, 7], [5, 7]])


def test_start_values_are_kept_and_never_in_the_way(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg, out = tmp_path / "a.cfg", tmp_path / "out.npz"
    cfg.write_text(CFG)
    recorded([library, cfg, out], out)
    assert (tmp_path / "out.weights").read_text() == "0"
    assert capsys.readouterr().out == f"{out}: 3 layers\n"
    assert "name it as WEIGHTS or move it" in refused([library, cfg, out], capsys)


def test_the_library_may_end_the_process(library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg, out = tmp_path / "a.cfg", tmp_path / "out.npz"
    cfg.write_text("[net]\nwidth=1\nheight=1\n[exit]\n")
    assert f"{library}: ended with exit code 0: no such thing" in refused([library, cfg, out], capsys)
    cfg.write_text("[net]\nwidth=1\nheight=1\n[crash]\n")
    assert "ended with SIGFPE" in refused([library, cfg, out], capsys)
    cfg.write_text(CFG)
    np.savez(tmp_path / "short.npz", input=np.zeros(5))
    args = [library, cfg, out, "--input", tmp_path / "short.npz"]
    assert "record_golden: the input has 5 values, the network takes 24" in refused(args, capsys)
    other = build(tmp_path, "OTHER_TREE")
    assert "AlexeyAB" in refused([other, cfg, out], capsys)
    assert not out.exists()


@pytest.mark.skipif(not REAL, reason="DARKNET_PY_LIBDARKNET names no libdarknet.so of upstream Darknet")
@pytest.mark.parametrize("name", ["passthrough", "avgpool_softmax", "dropout", "detection", "lstm", "crnn"])
def test_the_recordings_can_be_repeated(name: str, tmp_path: Path) -> None:
    case, out = GOLDEN / "layers" / name, tmp_path / "out.npz"
    npz = case.with_suffix(".npz")
    args = [REAL, case.with_suffix(".cfg"), case.with_suffix(".weights"), out, "--input", npz]
    found = recorded(args, out)
    with np.load(npz) as expected:
        assert sorted(found) == sorted(expected.files)
        np.testing.assert_array_equal(found["shapes"], expected["shapes"])
        for layer in (key for key in expected.files if key.startswith("layer")):
            values = expected[layer]  # of a recurrent layer, the first time step
            np.testing.assert_allclose(found[layer][: values.size], values, rtol=0, atol=1e-6 * np.abs(values).max())


@pytest.mark.skipif(not REAL, reason="DARKNET_PY_LIBDARKNET names no libdarknet.so of upstream Darknet")
@pytest.mark.parametrize("name", ["boxes_region", "boxes_region_tall", "boxes_yolo", "boxes_detection"])
def test_the_recorded_boxes_can_be_repeated(name: str, tmp_path: Path) -> None:
    case, out = GOLDEN / "boxes" / name, tmp_path / "out.npz"
    with np.load(case.with_suffix(".npz")) as loaded:
        expected = dict(loaded)
    args = [
        REAL,
        case.with_suffix(".cfg"),
        case.with_suffix(".weights"),
        out,
        "--input",
        case.with_suffix(".npz"),
    ]
    args += ["--thresh", expected["thresh"], "--hier", expected["hier_thresh"], "--nms", expected["nms"]]
    found = recorded([*args, "--size", *expected["image_size"]], out)
    for key, values in expected.items():
        assert found[key].dtype == values.dtype
        np.testing.assert_allclose(found[key], values, rtol=1e-6)
