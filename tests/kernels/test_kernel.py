"""The C kernels against convolutions in float64, inside its bounds."""

from __future__ import annotations

import ctypes
import mmap
import platform
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from darknet_py.engine import narrow, winograd
from darknet_py.engine.convolution import Activated, add
from darknet_py.engine.memory import Memory
from darknet_py.engine.plain import Folded
from darknet_py.kernels import compiled, native
from tests.support.engines import needs_winograd

pytestmark = needs_winograd
CLOSE = 2e-5  # of the largest value
X86 = platform.machine() == "x86_64"
LIBC = ctypes.CDLL(None, use_errno=True)


class Fenced:
    """Values in memory of their own, after which, or before which, no byte can be read or written."""

    def __init__(self, values: Tensor, *, end: bool) -> None:
        size = values.numel() * values.itemsize
        pages = -(-size // mmap.PAGESIZE)
        self.memory = mmap.mmap(-1, (pages + 2) * mmap.PAGESIZE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        for page in (0, pages + 1):
            assert LIBC.mprotect(ctypes.c_void_p(base + page * mmap.PAGESIZE), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
        start = mmap.PAGESIZE + (pages * mmap.PAGESIZE - size if end else 0)
        self.tensor = torch.frombuffer(self.memory, dtype=values.dtype, count=values.numel(), offset=start)
        self.tensor.copy_(values.reshape(-1))

    @property
    def buffer(self) -> native.Buffer:
        return native.Buffer(self.tensor.data_ptr(), self.tensor.nbytes)


def called(function: Callable[..., int], *sizes: object, buffers: Sequence[Fenced | None]) -> None:
    """Call a kernel; that it takes these buffers, and none where any is a byte shorter."""
    whole = [native.Buffer() if one is None else one.buffer for one in buffers]
    for place, one in enumerate(buffers):
        if one is not None:
            short = [*whole]
            short[place] = native.Buffer(whole[place].at, whole[place].bytes - 1)
            assert function(*sizes, (native.Buffer * len(short))(*short)) != 0
    assert function(*sizes, (native.Buffer * len(whole))(*whole)) == 0


def variants() -> dict[str, tuple[str, ...]]:
    """The flags for each width of vectors that this processor has."""
    flags = {"native": compiled.machine_flags()}
    if X86:
        plain = tuple(flag for flag in compiled.FLAGS if not flag.startswith("-march"))
        flags["sse2"] = (*plain, "-march=x86-64")
        if torch.backends.cpu.get_cpu_capability() != "DEFAULT":
            flags["avx2"] = (*plain, "-march=x86-64-v3")
    return flags


@pytest.fixture(scope="module", params=variants())
def kernel(request, tmp_path_factory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("kernel")
    library = native.functions(ctypes.CDLL(str(compiled.compiled(["gcc"], variants()[request.param], folder))))
    assert request.param == "native" or library.column() == {"sse2": 8, "avx2": 16}[request.param]
    return library


def reference(x: Tensor, weight: Tensor, bias: Tensor, slope: float, other: Tensor | None, sum_slope: float) -> Tensor:
    y = F.leaky_relu(F.conv2d(x.double(), weight.double(), bias.double(), padding=1), slope)
    return add(y, None if other is None else other.double(), sum_slope)


def close(found: Tensor, wanted: Tensor) -> bool:
    rounding = 0 if found.dtype == torch.float32 else 2**-8  # of a value to bfloat16
    largest = float(wanted.abs().max())
    return bool(((found - wanted).abs() <= CLOSE * largest + rounding * wanted.abs()).all())


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pooled(y: Tensor, pool: bool) -> Tensor:
    return F.max_pool2d(y, 2, 2, ceil_mode=True) if pool else y


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(1, 3), h=st.integers(1, 14), w=st.integers(1, 14), channels=st.integers(1, 5),
    halves=st.integers(1, 7), block=st.sampled_from([1, 4, 7, 12, 15, 29, 48]), blocks=st.integers(1, 4),
    group=st.integers(1, 4), packed=st.booleans(), half=st.booleans(), brief=st.booleans(),
    threads=st.integers(1, 3), slope=st.sampled_from([1.0, 0.1, 0.0]),
    sum_slope=st.sampled_from([None, 1.0, 0.1]), pool=st.booleans(), end=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_winograd_computes_the_convolution_inside_its_bounds(
    kernel,
    n,
    h,
    w,
    channels,
    halves,
    block,
    blocks,
    group,
    packed,
    half,
    brief,
    threads,
    slope,
    sum_slope,
    pool,
    end,
    seed,
):
    column, c = kernel.column(), 16 * channels
    k = halves * column // 2
    columns = -(-k // column)
    group, sum_slope = (1 if packed else group), (None if pool else sum_slope)
    x, weight, bias, other = (
        drawn(seed, *shape) for shape in ((n, c, h, w), (k, c, 3, 3), (k,), (n, k, h, w))
    )  # fmt: skip
    half, dtype = half and not packed, torch.bfloat16 if brief else torch.float32
    x, other = (tensor.to(dtype).float() for tensor in (x, other))
    if half:
        weight = weight.bfloat16().float()
    sizes = n, h, w, c, k, pool, threads, brief, packed, half, block if packed else block * blocks, block, group
    job = native.Job(*sizes, slope, 1.0 if sum_slope is None else sum_slope)
    whole = F.pad(weight, (0, 0, 0, 0, 0, 0, 0, -k % column))
    ordered = whole.reshape(columns, column, c, 9).permute(0, 2, 3, 1)
    if half:  # two bfloat16 in a place of 32 bits
        ordered = ordered.bfloat16().contiguous().view(torch.float32)
    given_weights = Fenced(ordered, end=end)
    if packed:
        floats = kernel.winograd_packed(c, columns)
        plain, given_weights = given_weights, Fenced(torch.empty(floats), end=end)
        called(kernel.winograd_pack, c, columns, buffers=(plain, given_weights))
    last = [Fenced(tensor.to(dtype).permute(0, 2, 3, 1), end=end) for tensor in (x, other)]
    wanted = pooled(reference(x, weight, bias, slope, None if sum_slope is None else other, sum_slope or 1.0), pool)
    output = Fenced(torch.full((wanted.numel(),), float("nan"), dtype=dtype), end=end)
    space = Fenced(torch.full((kernel.winograd_workspace(job),), float("nan")), end=end)
    added = None if sum_slope is None else last[1]
    shift = Fenced(bias, end=end)
    called(kernel.winograd, job, buffers=(last[0], given_weights, shift, added, output, space))
    found = output.tensor.view(n, *wanted.shape[2:], k).permute(0, 3, 1, 2)
    assert close(found, wanted)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(1, 3), h=st.integers(1, 20), w=st.integers(1, 70), c=st.sampled_from([1, 3]),
    halves=st.integers(1, 5), threads=st.integers(1, 3), slope=st.sampled_from([1.0, 0.1, 0.0]), pool=st.booleans(),
    brief=st.booleans(), end=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
def test_narrow_computes_the_convolution_inside_its_bounds(
    kernel, n, h, w, c, halves, threads, slope, pool, brief, end, seed
):  # fmt: skip
    column, dtype = kernel.column(), torch.bfloat16 if brief else torch.float32
    k = halves * column // 2
    x, weight, bias = drawn(seed, n, c, h, w), drawn(seed + 1, k, c, 3, 3), drawn(seed + 2, k)
    job = native.Job(n=n, h=h, w=w, c=c, k=k, pool=pool, threads=threads, brief=brief, slope=slope)
    whole = F.pad(weight, (0, 0, 0, 0, 0, 0, 0, -k % column))
    ordered = Fenced(whole.reshape(-1, column, c, 3, 3).permute(0, 3, 4, 2, 1), end=end)
    wanted = pooled(reference(x, weight, bias, slope, None, 1.0), pool)
    output = Fenced(torch.full((wanted.numel(),), float("nan"), dtype=dtype), end=end)
    space = Fenced(torch.full((kernel.narrow_workspace(job),), float("nan")), end=end)
    pixels, shift = Fenced(x.permute(0, 2, 3, 1), end=end), Fenced(bias, end=end)
    called(kernel.narrow, job, buffers=(pixels, ordered, shift, output, space))
    found = output.tensor.view(n, *wanted.shape[2:], k).permute(0, 3, 1, 2)
    assert close(found, wanted)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 3), h=st.integers(1, 40), w=st.integers(1, 40), c=st.integers(1, 40), k=st.integers(1, 70),
    slope=st.sampled_from([1.0, 0.1, 0.0, None]), sums=st.booleans(), pool=st.booleans(), last=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_any_channels_with_the_operation_that_suits(n, h, w, c, k, slope, sums, pool, last, seed):
    x, weight, bias = drawn(seed, n, c, h, w), drawn(seed + 1, k, c, 3, 3), drawn(seed + 2, k)
    other = drawn(seed + 3, n, k, h, w) if sums else None
    make = winograd.convolutions()
    operation = make(Folded(weight, bias, (1, 1), (1, 1), 1, 1.0 if slope is None else slope))
    if slope is None:
        operation = Activated(operation, torch.sigmoid_)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    pool = pool and operation.pools and not sums
    with torch.inference_mode():
        found = operation(Memory(), x, other, slope=0.1) if sums else operation(Memory(), x, pool=pool)
    if slope is None:
        wanted = add(F.conv2d(x.double(), weight.double(), bias.double(), padding=1).sigmoid(), other, 0.1)
    else:
        wanted = reference(x, weight, bias, slope, other, 0.1)
    assert close(found, pooled(wanted, pool))


@pytest.mark.parametrize(("c", "k"), [(32, 32), (48, 96), (256, 64), (512, 512)])
def test_sizes_of_real_layers(c, k):
    """Weights that are kept transformed, and weights that are not."""
    weight, bias, x = drawn(0, k, c, 3, 3), drawn(1, k), drawn(2, 2, c, 13, 15)
    conv = Folded(weight, bias, (1, 1), (1, 1), 1, 0.1)
    assert winograd.suits(conv, 32) == (c % 16 == 0 and k % 32 == 0)
    operation = winograd.convolutions()(conv)
    assert isinstance(operation, winograd.Winograd)
    assert operation.packed == (c * k * 36 * 4 <= winograd.PACKED_BYTES)
    assert close(operation(Memory(), x), reference(x, weight, bias, 0.1, None, 1.0))


def test_what_does_not_suit():
    conv = Folded(torch.empty(64, 64, 3, 3), torch.empty(64), (1, 1), (1, 1), 1, 0.1)
    assert winograd.suits(conv, 32)
    shapes = ((64, 64, 1, 1), (64, 8, 3, 3), (64, 40, 3, 3), (33, 64, 3, 3))
    others = [conv.__class__(**{**vars(conv), "weight": torch.empty(shape)}) for shape in shapes]
    changes = ({"stride": (2, 2)}, {"padding": (0, 0)}, {"groups": 2})
    others += [conv.__class__(**{**vars(conv), **change}) for change in changes]
    assert not any(winograd.suits(other, 32) for other in others)
    assert not any(narrow.suits(other, 16) for other in (conv, *others))
    assert narrow.suits(conv.__class__(**{**vars(conv), "weight": torch.empty(48, 3, 3, 3)}), 16)


def test_the_sources_are_a_part_of_the_package():
    text = Path(winograd.__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8")
    assert all(source.is_file() for source in compiled.SOURCES)
    assert {f'"*{source.suffix}"' in text for source in compiled.SOURCES} == {True}
