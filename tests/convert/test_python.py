"""Generated .py files: the network's outputs, its state dict, plain torch and nothing else, and tidy text."""

from __future__ import annotations

import ast
import builtins
import inspect
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from darknet_py import weights
from darknet_py.cli import main
from darknet_py.convert.formats import Options
from darknet_py.convert.python import FORMAT, class_name, generate, load
from darknet_py.errors import CfgError, DarknetError
from darknet_py.layers import REGISTRY, Layer, Shape
from darknet_py.layers.parts.activations import ACTIVATIONS
from darknet_py.layers.parts.text import HELPERS, helper
from darknet_py.network import Network
from darknet_py.network.graph import Graph
from tests.support.places import GOLDEN, OFFICIAL, needs_official
from tests.support.recordings import load_network, read_graph

RUFF = Path(sysconfig.get_path("scripts"), "ruff")
RECURRENT = {"rnn", "gru", "lstm", "crnn"}
CASES = [
    path
    for folder in ("layers", "boxes")
    for path in sorted((GOLDEN / folder).glob("*.cfg"))
    if path.stem not in RECURRENT
]
SMALL = {
    "cifar": 0,
    "tiny": 0,
    "resnet18": 96,
    "yolov2-tiny-voc": 96,
    "yolov3-tiny": 96,
    "darknet9000": 64,
    "yolov3-spp": 96,
}
NET = "[net]\nwidth=12\nheight=8\nchannels=4\n"
CONV = "[convolutional]\nfilters=6\nsize=3\npad=1\nactivation=leaky\n"


def network_of(text: str, source: str = "a.cfg") -> Network:
    return Network(Graph.parse(text, source), generator=torch.Generator().manual_seed(0)).eval()


def stirred(network: Network) -> Network:
    """Give every normalization its own numbers."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                module.weight.uniform_(0.5, 1.2, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)
    return network.eval()


def worst(network: Network, path: Path, batch: int = 2) -> float:
    """The largest difference between the network and its file, as a share of the largest value."""
    FORMAT.write(network, path, Options())
    x = torch.rand(batch, *network.input_shape.dims, generator=torch.Generator().manual_seed(2))
    (found,) = FORMAT.run(path, network, [x], Options())
    with torch.no_grad():
        expected = network.heads(x)
    assert [tuple(tensor.shape) for tensor in found] == [tuple(tensor.shape) for tensor in expected]
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("cfg", CASES, ids=lambda path: path.stem)
def test_the_module_gives_the_networks_outputs(cfg, tmp_path):
    assert worst(load_network(cfg, cfg.with_suffix(".weights")), tmp_path / "net.py") < 1e-6


@needs_official
@pytest.mark.parametrize("name", SMALL)
def test_modules_of_official_cfgs_give_the_networks_outputs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(OFFICIAL)
    graph = read_graph(OFFICIAL / "cfg" / f"{name}.cfg")
    side = SMALL[name]
    network = stirred(Network(graph.resized(side, side) if side else graph, generator=torch.Generator().manual_seed(0)))
    assert worst(network, tmp_path / "net.py") < 1e-5  # so many layers add up


@needs_official
def test_every_official_cfg_that_is_not_recurrent_can_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(OFFICIAL)
    names = {}
    for path in sorted((OFFICIAL / "cfg").glob("*.cfg")):
        graph = read_graph(path)
        if not graph.recurrent:
            text = generate(graph)
            compile(text, path.stem, "exec")
            names[path.stem] = class_name(graph)
            (tmp_path / f"{names[path.stem]}.py").write_text(text)
    assert len(names) >= 40
    assert names["yolov2-tiny-voc"] == "Yolov2TinyVoc"
    tidy(tmp_path)


def test_files_are_formatted_and_sorted_and_import_torch_alone(tmp_path):
    for path in CASES:
        text = generate(read_graph(path))
        (tmp_path / f"{path.stem}.py").write_text(text)
        assert max(map(len, text.splitlines())) <= 88
        assert imported(text) <= {"torch", "collections"}
    tidy(tmp_path)


def tidy(folder: Path) -> None:
    """Fail where ruff would change a file, in either of the usual widths, or complain."""
    for width in ("88", "100"):
        subprocess.run([RUFF, "format", "--isolated", "--check", "--line-length", width, folder], check=True)
    rules = "E,F,I,W,A,B,UP,N,D,PIE,RUF"
    ignored = "N812,D203,D213,D401,D102,D107"
    subprocess.run([RUFF, "check", "--isolated", "--select", rules, "--ignore", ignored, folder], check=True)


def imported(text: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).split(".")[0])
    return found


def test_the_docstring_works_as_it_says_without_this_package(tmp_path):
    """In another process, in another folder, with the file and the state dict alone."""
    cfg = GOLDEN / "boxes/boxes_region.cfg"
    network = load_network(cfg, cfg.with_suffix(".weights"))
    FORMAT.write(network, tmp_path / "boxes_region.py", Options())
    torch.save(network.state_dict(), tmp_path / "boxes_region.pt")
    x = torch.rand(1, *network.input_shape, generator=torch.Generator().manual_seed(0))
    torch.save(x, tmp_path / "x.pt")
    docstring = ast.get_docstring(ast.parse((tmp_path / "boxes_region.py").read_text()))
    usage = "\n".join(line.strip() for line in docstring.splitlines() if re.match(r" +(model|weights)\b", line))
    assert usage.count("\n") == 2
    program = (
        f"import sys, torch\nfrom boxes_region import *\n{usage}\n"
        "torch.save(model(torch.load('x.pt')), 'y.pt')\n"
        "sys.exit(any(name.startswith('darknet') for name in sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": ""}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, env=environment)
    with torch.no_grad():
        torch.testing.assert_close(torch.load(tmp_path / "y.pt"), network(x))


def test_the_docstring_says_input_outputs_and_boxes():
    text = generate(read_graph(GOLDEN / "layers/yolo.cfg"))
    for part in ("The network of yolo.cfg", "Input: (N, ", "Output: (N, ", "[yolo]", "anchors", "exp(w)", "yolo.pt"):
        assert part in text
    assert "multiples of" in text
    assert "multiples of" not in generate(read_graph(GOLDEN / "layers/crop_center.cfg"))
    masked = generate(Graph.parse(NET + conv(30) + "[region]\ncoords=9\nclasses=20\n"))
    assert "5 mask values" in " ".join(masked.split())


def conv(filters: int) -> str:
    return f"[convolutional]\nfilters={filters}\nactivation=linear\n"


RARE = {
    "region with a mask": conv(60) + "[region]\nnum=2\ncoords=9\nclasses=20\nsoftmax=1\n",
    "region with background": conv(50) + "[region]\nnum=2\nclasses=20\nsoftmax=1\nbackground=1\n",
    "region with background of logistics": conv(50) + "[region]\nnum=2\nclasses=20\nbackground=1\n",
    "iseg": conv(9) + "[iseg]\nclasses=3\nids=6\n",
    "detection with softmax": "[connected]\noutput=72\n[detection]\nside=2\nnum=2\ncoords=4\nclasses=8\nsoftmax=1\n",
    "downsampling": CONV + "[upsample]\nstride=-2\nscale=.5\n",
    "reorg of channels that do not fit": conv(14) + "[reorg]\nstride=2\n[reorg]\nstride=3\nreverse=1\n",
    "reorg with extra": "[reorg]\nstride=2\nextra=5\n",
    "reorg flat and back": "[reorg]\nstride=2\nflatten=1\n[reorg]\nstride=2\nflatten=1\nreverse=1\n",
    "spatial softmax": CONV + "[softmax]\nspatial=1\n",
    "softmax of a row": "[connected]\noutput=12\n[cost]\n[softmax]\ntemperature=2\n[softmax]\ngroups=3\n",
    "rows of other lengths": "[softmax]\n[connected]\noutput=5\n[softmax]\n[shortcut]\nfrom=0\nactivation=ramp\n",
    "shortcut of more channels": CONV + conv(4) + "[shortcut]\nfrom=0\nalpha=.5\nbeta=2\nactivation=leaky\n",
    "shortcut of itself": CONV + "[shortcut]\nfrom=-1\nactivation=linear\n",
    "shortcut to a larger picture": CONV + "[maxpool]\nstride=2\n[upsample]\nstride=2\n[shortcut]\nfrom=1\nalpha=3\n",
    "long route": CONV * 9 + "[route]\nlayers=0,1,2,3,4,5,6,7,8,-1\n" + conv(2),
    "a layer that no output needs": CONV + conv(18) + "[yolo]\nclasses=1\nnum=3\n" + CONV,
    "head before the last": CONV
    + conv(18)
    + "[yolo]\nclasses=1\nnum=3\n"
    + CONV
    + conv(18)
    + "[yolo]\nclasses=1\nnum=3\n",
    "normalized rows": "[connected]\noutput=5\nbatch_normalize=1\nactivation=stair\n[batchnorm]\n",
    "wide padding": "[maxpool]\nsize=2\nstride=1\npadding=5\n",
    "nothing to learn": "[maxpool]\nsize=2\nstride=2\n",
    "deep normalization": "[normalization]\nsize=11\nalpha=.1\n",
}


@pytest.mark.parametrize("case", RARE)
def test_what_official_cfgs_do_not_have(case, tmp_path):
    network = stirred(network_of(NET + RARE[case]))
    assert worst(network, tmp_path / "net.py") < 1e-6
    tidy(tmp_path)


def test_an_input_that_is_no_picture(tmp_path):
    network = network_of("[net]\ninputs=7\n[connected]\noutput=5\nactivation=selu\n[connected]\noutput=3\n")
    assert worst(network, tmp_path / "net.py") < 1e-6


def test_a_tree_becomes_a_tuple_of_group_sizes():
    text = generate(read_graph(GOLDEN / "boxes/boxes_tree.cfg"))
    (sizes,) = re.findall(r"^GROUPS_\d+ = (\(.*?\))", text, re.MULTILINE | re.DOTALL)
    tree = read_graph(GOLDEN / "boxes/boxes_tree.cfg").heads[0].layer.word_tree
    assert ast.literal_eval(sizes) == tree.group_sizes


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation_is_the_same(name, tmp_path):
    network = network_of(f"[net]\nwidth=64\nheight=2\nchannels=1\n[activation]\nactivation={name}\n[batchnorm]\n")
    FORMAT.write(network, tmp_path / "net.py", Options())
    x = torch.linspace(-6, 6, 128).view(1, 1, 2, 64)
    ((found,),) = FORMAT.run(tmp_path / "net.py", network, [x], Options())
    with torch.no_grad():
        torch.testing.assert_close(found, network(x))


def test_only_the_helpers_that_are_used_are_there():
    defined = {
        node.name
        for node in ast.parse(generate(read_graph(GOLDEN / "boxes/boxes_yolo.cfg"))).body[1:]
        if hasattr(node, "name")
    }
    assert {"conv", "conv_bn"} <= defined | {"conv"}
    assert not defined & {"local", "reorg", "tree_softmax", "conv_transposed", "plse"}


def test_helpers_need_torch_alone_and_name_no_builtin():
    for name, function in (HELPERS | {row.name: row.helper for row in ACTIVATIONS.values() if row.helper}).items():
        assert name == function.__name__
        assert not hasattr(builtins, name)
        assert "darknet_py" not in inspect.getsource(function)
        assert max(map(len, inspect.getsource(function).splitlines())) <= 88


def test_two_helpers_have_two_names():
    def reorg() -> None:
        """Another function of this name."""

    with pytest.raises(ValueError, match=r"another reorg\(\) already"):
        helper(reorg)


def test_training_the_module_is_possible(tmp_path):
    network = network_of(
        NET + CONV.replace("filters", "batch_normalize=1\nfilters") + "[dropout]\n[avgpool]\n[softmax]\n"
    )
    FORMAT.write(network, tmp_path / "net.py", Options())
    module = load(tmp_path / "net.py", network).train()
    module(torch.rand(2, 4, 8, 12)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_a_module_takes_other_sizes(tmp_path):
    cfg = GOLDEN / "layers/passthrough.cfg"
    network = load_network(cfg, cfg.with_suffix(".weights"))
    FORMAT.write(network, tmp_path / "net.py", Options())
    module = load(tmp_path / "net.py", network)
    stride = network.graph.stride
    network.resize(3 * stride, 5 * stride)
    x = torch.rand(1, *network.input_shape)
    with torch.no_grad():
        torch.testing.assert_close(module(x), network(x))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("cfg/yolov3-spp.cfg", "Yolov3Spp"),
        ("9.cfg", "Net9"),
        ("None.cfg", "NetNone"),
        ("warning.cfg", "NetWarning"),
        ("tensor.cfg", "NetTensor"),
        ("", "Net"),
        ("\u00e4\n.cfg", "Net"),
        ("<cfg>", "Cfg"),
    ],
)  # fmt: skip
def test_class_names_shadow_nothing(source, expected):
    assert class_name(Graph.parse(NET + CONV, source)) == expected


def test_a_hostile_file_name_stays_text():
    text = generate(Graph.parse(NET + CONV, 'a"""\nimport os\n\\.cfg'))
    assert "a____import_os__.cfg" in text
    assert "\nimport os" not in text
    compile(text, "hostile", "exec")


@dataclass(frozen=True, kw_only=True)
class Untold(Layer):
    """A layer of somebody who has no use for source code."""

    type = "untold"

    def out_shape(self, inputs: Sequence[Shape]) -> Shape:
        return self.image(inputs)

    def build(self, inputs: Sequence[Shape]) -> torch.nn.Module:
        return torch.nn.Identity()


def test_a_layer_without_source_text_is_one_line_and_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(REGISTRY, "untold", Untold)
    (tmp_path / "a.cfg").write_text(f"{NET}{CONV}[untold]\n")
    network = Network.from_cfg(tmp_path / "a.cfg")
    weights.save(network, tmp_path / "a.weights")
    files = [str(tmp_path / name) for name in ("a.cfg", "a.weights", "a.py")]
    assert main(["convert", *files]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("a.cfg:10: [untold] layer 1 cannot be written as source code")
    assert not (tmp_path / "a.py").exists()


@pytest.mark.parametrize("name", sorted(RECURRENT))
def test_recurrent_networks_are_refused(name, tmp_path):
    cfg = GOLDEN / f"layers/{name}.cfg"
    with pytest.raises(CfgError, match=r"\[\w+\] layer \d cannot be written as source code"):
        FORMAT.write(load_network(cfg, cfg.with_suffix(".weights")), tmp_path / "net.py", Options())
    assert not list(tmp_path.iterdir())


def test_another_type_is_refused(tmp_path):
    with pytest.raises(DarknetError, match="holds no values"):
        FORMAT.write(network_of(NET + CONV), tmp_path / "net.py", Options(dtype=torch.float16))


def test_other_code_is_not_run(tmp_path):
    network = network_of(NET + CONV)
    (tmp_path / "net.py").write_text(generate(network.graph) + "raise SystemExit\n")
    with pytest.raises(DarknetError, match=r"net\.py: this is not the source code"):
        load(tmp_path / "net.py", network)


def test_writing_twice_gives_the_same_text():
    assert generate(read_graph(CASES[0])) == generate(read_graph(CASES[0]))
