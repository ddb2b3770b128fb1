"""Command lines and files that are wrong in every way: taken, or refused in one sentence.

The tests try some of each; ``make fuzz`` ten thousand of each (``FUZZ=10000``), other ones every
time.
"""

import contextlib
import gzip
import io
import json
import operator
import os
import pickle
import resource
import shutil
import signal
import struct
import sys
import tempfile
import zipfile
from dataclasses import fields
from functools import reduce
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matplotlib.figure import Figure
from PIL import Image
from pyro.optim import Adam
from quick import quickly, words
from safetensors.torch import load, save
from test_report import full_metrics

from pyro_mlvae import GroupSampler, InputError, fit, load_dataset, runs
from pyro_mlvae.cli import compare_elbos, comparing, drawing, evaluating, training
from pyro_mlvae.cli.main import names, run
from pyro_mlvae.data.idx import IDX_FILES
from pyro_mlvae.data.table_files import TableColumns
from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.runs import options
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.explorer import save_explorer
from pyro_mlvae.runs.folder import CHECKPOINT
from pyro_mlvae.runs.report import write_report
from pyro_mlvae.training import Checkpoint, EpochRecord, History
from pyro_mlvae.training.checkpoint import digest
from pyro_mlvae.training.ranks import Ranks

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("types_unchecked")]
MANY = int(os.environ.get("FUZZ", "60"))
SECONDS, MEMORY = 20.0, 4 * 2**30
fuzzed = settings(
    max_examples=MANY,
    deadline=None,
    derandomize="FUZZ" not in os.environ,
    suppress_health_check=[*HealthCheck],
)
SHAPE = (1, 8, 8)
CONFIG = RunConfig(data="npz:data.npz", hidden=(4,), content_dim=2, style_dim=2, epochs=3)
OWN = """
from pyro_mlvae import MLVAE, ProductOfNormals
class Model(MLVAE): pass
class Guide(ProductOfNormals): pass
"""
FOLDERS = "arrays images/a images/b MNIST/raw FashionMNIST/raw run/vae empty broken ../canary"


def make_files(work):
    """The files as they should be, and beside their folder one that is nobody's business."""
    for name in words(FOLDERS):
        (work / name).mkdir(parents=True)
    for name in ("canary.txt", "../canary/canary.txt"):
        (work / name).write_text("sings")
    (work / "own.py").write_text(OWN)
    (work / "broken.py").write_text("raise OSError('of its own')")
    (work / "broken" / runs.CONFIG).write_text("{}")
    x = np.random.default_rng(0).random((40, *SHAPE), dtype=np.float32)
    group = np.array([*"abcd"] * 10)
    np.savez(work / "data.npz", x=x, group=group, label=np.arange(40))
    np.save(work / "arrays/x.npy", x)
    np.save(work / "arrays/group.npy", group)
    rows = [f"{name},{i},{i / 7:.3f}" for i, name in enumerate(group)]
    (work / "table.csv").write_text("\n".join(["donor,age,dose", *rows]))
    for i, pixels in enumerate((x[:20, 0] * 255).astype(np.uint8)):
        kind = ("png", "jpg")[i % 4 // 2]
        Image.fromarray(pixels).save(work / f"images/{'ab'[i % 2]}/{i}.{kind}")
    sides = b"".join(side.to_bytes(4, "big") for side in (3, 28, 28))
    digits = (b"\0\0\x08\x03" + sides + bytes(3 * 28 * 28), b"\0\0\x08\x01" + sides[:4] + b"\1\2\1")
    for name, content in zip(IDX_FILES, digits * 2, strict=True):
        (work / "MNIST/raw" / name).write_bytes(content)
        (work / f"FashionMNIST/raw/{name}.gz").write_bytes(gzip.compress(content))
    for folder, config in ((work / "run", CONFIG), (work / "run/vae", CONFIG.plain_vae())):
        runs.save_config(folder, config, SHAPE)
        runs.save_weights(folder, *config.build(SHAPE))
    pair, data = CONFIG.build(SHAPE), load_dataset(f"npz:{work}/data.npz")
    fit(*pair, GroupSampler(data, 2), epochs=2, checkpoint=Checkpoint(work / "run" / CHECKPOINT))
    runs.write_json(work / "run" / runs.METRICS, full_metrics())
    save_explorer(work / "run", *pair, data)


class Hang(BaseException):
    """Ends what takes too long; no handler for exceptions may take it for one of its own."""


# How many of an event's first arguments are paths that are written to.
WRITES = {"os.rename": 2, "os.symlink": 2, "os.link": 2} | dict.fromkeys(
    words("os.mkdir os.remove os.rmdir os.truncate os.chmod os.chown os.utime"), 1
)
STARTS = words("subprocess.Popen os.system os.exec os.posix_spawn os.fork pty.spawn")


class Box:
    """A copy of the files, in which everything happens; made anew where something was written.

    It refuses, and remembers, what is run, unpickled, or written outside without the right to, and
    refuses every connection.
    """

    def __init__(self, folder):
        self.folder, self.work = folder / "box", folder / "box" / "work"
        self.whole, self.broken = folder / "whole", []
        self.watching, self.named, self.may_start = False, (), False
        make_files(self.whole / "work")
        self.restore()
        sys.addaudithook(self._hook)

    def restore(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.whole, self.folder)
        os.chdir(self.work)

    def changed(self):
        """The paths in the box that are new, gone, or not what they were."""
        now, then = (
            {p.relative_to(root): p.is_file() and p.read_bytes() for p in root.rglob("*")}
            for root in (self.folder, self.whole)
        )
        return {self.folder / path for path in now | then if now.get(path) != then.get(path)}

    @contextlib.contextmanager
    def watch(self, named=(), *, may_start=False):
        """See what is done; writing to ``named`` places outside is tried in good faith."""
        self.watching, self.named, self.may_start, self.broken = True, named, may_start, []
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            yield
        except Hang:
            raise AssertionError(f"it takes more than {SECONDS} s of processor time") from None
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.watching = False
        assert not self.broken

    def _hook(self, event, arguments):
        if not self.watching:
            return
        if event in STARTS and not self.may_start:
            self._refuse(f"a process was started ({event})")
        elif event == "pickle.find_class":
            self._refuse(f"{arguments[0]}.{arguments[1]} was unpickled")
        elif event in ("socket.connect", "socket.getaddrinfo"):
            raise ConnectionRefusedError("there is no network here")
        elif event == "open" and not isinstance(arguments[0], int):
            if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
                self._write(event, arguments[0])
        elif event == "os.mkdir" and Path(os.fsdecode(arguments[0])).is_dir():
            pass  # what is there already is not made
        elif event in WRITES:
            for path in arguments[: WRITES[event]]:
                # A folder that is open, to which the path is relative, comes last; -1 stands for
                # none.
                beside = event in ("os.remove", "os.rmdir", "os.mkdir") and arguments[-1] >= 0
                folder = Path(f"/proc/self/fd/{arguments[-1]}").resolve() if beside else Path()
                self._write(event, folder / os.fsdecode(path))

    def _write(self, event, path):
        path = absolute(os.fsdecode(path))
        temporary = path.is_relative_to(tempfile.gettempdir()) and self.whole not in path.parents
        if temporary or str(path) == os.devnull:
            return
        if any(near(path, place) for place in self.named):
            raise PermissionError(13, "Permission denied")
        self._refuse(f"{event} of {str(path)!r}")

    def _refuse(self, what):
        self.broken.append(what)
        raise PermissionError(13, "Permission denied")


def absolute(path):
    """The path, of which no link is followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def near(path, place):
    """Whether a path is at, in, around, or a temporary file of a place."""
    beside = path.parent == place.parent and path.name.startswith(f".{place.stem}.")
    return path.is_relative_to(place) or place.is_relative_to(path) or beside


@pytest.fixture(scope="module")
def one_box(tmp_path_factory):
    before = Path.cwd()
    yield Box(tmp_path_factory.mktemp("fuzz").resolve())
    os.chdir(before)


@pytest.fixture
def box(one_box, monkeypatch):
    """The box, with limits of time and memory."""

    def hang(*_):
        raise Hang

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("HOME", str(one_box.work))
    before, most = signal.signal(signal.SIGPROF, hang), resource.getrlimit(resource.RLIMIT_AS)
    virtual = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (virtual + MEMORY, most[1]))
    one_box.restore()
    yield one_box
    resource.setrlimit(resource.RLIMIT_AS, most)
    signal.signal(signal.SIGPROF, before)


# Command lines.

SMALL = "--data npz:data.npz --hidden 4 --content-dim 2 --style-dim 2 --epochs 1 --device cpu"
COMPARE = (
    "compare-elbos --out out --epochs 1 --device cpu --estimators trace --particles 1 --seconds 0 "
    "--draws 2 --reference-draws 4 --groups 2 --no-memory --data"
)
# Command lines that are right, from which the others are made.
RIGHT = f"""
    train --out out {SMALL} --no-vae
    train --out out {SMALL}
    train --resume run --epochs 4
    train --out run --overwrite {SMALL} --no-vae
    train --out out {SMALL} --data folder:images --image-size 8 --grayscale --augment affine
    train --out out {SMALL} --data csv:table.csv --group-column donor --feature-columns age dose
    train --out out --hold-out-groups a b --seed 3 {SMALL}
    train --out out --model own.py:Model --guide own.py:Guide {SMALL}
    train --out out --elbo group-renyi --alpha 0.3 --num-particles 2 {SMALL}
    train --out out --hsic 1 --beta-style 2 --warmup-steps 3 --preset paper {SMALL}
    evaluate run --device cpu
    evaluate run --data npy:arrays --data-root .
    {COMPARE} npz:data.npz --hidden 4
    {COMPARE} linear-gaussian
    swap run --out out.png --content 1 2 --style 3 --evidence 1
    interpolate run --out out.png --steps 3 --vary both
    generate run --out out.png --rows 2 --columns 2 --seed 1
    traverse run --out out.svg --which style --content 2
    embed run --out out.npz --data npz:data.npz --device cpu
    datasets --data-root .
"""
RIGHT = [line.split() for line in RIGHT.strip().split("\n")]
OPTIONS = [options.DataOptions, options.ModelOptions, options.ObjectiveOptions]
OPTIONS += [options.TrainingOptions, compare_elbos.CompareElbos, *drawing.FIGURES]
FLAGS = [f"--{field.name.replace('_', '-')}" for each in OPTIONS for field in fields(each)]
FLAGS += words("--no-vae --no-epochs --Epochs --epoch -e --= --data=digits --overwrite --resume")
NUMBERS = words("-1 1e3 1.5 nan -inf 1e308 1e-320 1_0 0x10 ٣ 2147483648 9223372036854775808")
NUMBERS += ["9" * 5000]
PATHS = words("""
    . .. / out out/a/b run ../canary ../canary/new canary.txt data.npz table.csv /dev/null /dev/full
    /proc/self/new /nowhere/new ~ ~nobody-of-that-name/x $HOME * ünïcode out.png out.PNG out.jpg
    images arrays run/config.json run.png run/vae broken empty %s%n {x} CON - -- run/figures/x.png
    data.npz/x.png
""")
PATHS += ["", "a b", "new\nline.png", "tab\t.npz", "\x1b[31mred", "\udcff", "a" * 300, "a/" * 3000]
NAMES = words("""
    digits glyphs linear-gaussian mnist fashion-mnist omniglot celeba lfw digit : http://x/y
    npz:npz:x mlvae vae three-level mixture-prior auto product-of-normals ada-gvae own.py:Model
    own.py:Nothing own.py: .py: x.py:Y broken.py:Model own.py:Model:Guide trace renyi nested-iwae
    dreg rws local normal bernoulli counts conv observations cuda cuda:-1 meta mask
""")
NAMES += [f"cuda:{'9' * 22}"]
NAMES += [f"{kind}:{path}" for kind in words("npz npy folder csv parquet") for path in PATHS]
hostile_words = st.one_of(
    *map(st.sampled_from, (NUMBERS, PATHS, NAMES, FLAGS)),
    st.integers(-3, 60).map(str),
    st.floats().map(str),
    st.text(st.characters(exclude_characters="\0"), max_size=20),
)


@st.composite
def command_lines(draw):
    """One that is right, of which one to four things are changed."""
    line = list(draw(st.sampled_from(RIGHT)))
    for _ in range(draw(st.integers(1, 4))):
        place, hostile = draw(st.integers(0, len(line))), draw(hostile_words)
        values = [i for i, word in enumerate(line) if i and not word.startswith("--")]
        how = draw(st.sampled_from(("value", "value", "value", "add", "delete", "cut", "command")))
        if how == "value" and values:
            line[draw(st.sampled_from(values))] = hostile
        elif how == "add":
            line += [draw(st.sampled_from(FLAGS)), *draw(st.lists(hostile_words, max_size=2))]
        elif how == "delete":
            del line[place : place + 1]
        elif how == "cut" and place < len(line):
            end = draw(st.sampled_from(("", "=", hostile)))
            line[place] = line[place][: draw(st.integers(0, 20))] + end
        else:
            line[:1] = [draw(st.sampled_from([*names(), "trian", "help", ""]))]
    return line


@contextlib.contextmanager
def without_what_takes_long():
    """Training is one minibatch, which is only formed; nothing is measured or drawn."""
    record = EpochRecord(1, 0.0, 0.0, ElboTerms(0.0, {}, 1, 1))

    def no_fit(model, guide, sampler, *, callback, **_):
        next(sampler.epoch(0))
        callback(record)
        return History([record])

    figures = words("swap_grid interpolation_figure generation_figure traversal_figure")
    drawn = {name: getattr(drawing.plotting, name) for name in drawing.plotting.__all__}
    drawn |= dict.fromkeys(figures, lambda *_, **__: Figure((1, 1)))
    found = {"seconds": 0.0, "rows": [], "sandwich_missing": None}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fit", no_fit)
        patch.setattr(drawing, "plotting", SimpleNamespace(**drawn))
        for module in (training, evaluating):
            patch.setattr(module, "finish", lambda *_, **__: ("report.html", {}))
            patch.setattr(module, "print_results", lambda *_: None)
        patch.setattr(evaluating, "evaluate", lambda *_, **__: {})
        patch.setattr(evaluating, "write_report", lambda *_: None)
        patch.setattr(comparing, "compare_elbos", lambda *_, **__: found)
        for name in ("write_csv", "comparison_table", "advice", "draw_comparison"):
            patch.setattr(comparing, name, lambda *_: {})
        yield


def attempt(box, line, *, may_start=False):
    """Run a command line, and see that it keeps every promise; returns its status."""
    given = [name for word in line for name in (word, word.partition("=")[2]) if name]
    named = [absolute(box.work / name) for name in given]
    out, err = io.StringIO(), io.StringIO()
    try:
        with (
            box.watch(named, may_start=may_start),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                status = run(line)
            except SystemExit as exit_:
                status = exit_.code or 0
    finally:
        changed = box.changed()
        if changed:
            box.restore()
    said, last = err.getvalue(), err.getvalue().rstrip("\n").split("\n")[-1]
    assert "Traceback" not in said
    assert status in (0, 2), said
    assert [path for path in changed if not any(near(path, place) for place in named)] == []
    if status:
        assert last.startswith("pyro-mlvae: "), said
        assert last.isprintable()
        assert len(last) > 20
        sentences = [line for line in said.split("\n") if line.startswith("pyro-mlvae: ")]
        assert len(set(sentences)) == len(sentences), "an error was printed twice"
        assert "\N{BOX DRAWINGS LIGHT ARC DOWN AND RIGHT}" not in said
        assert out.getvalue() == ""
        assert [
            path for path in changed if (box.whole / path.relative_to(box.folder)).exists()
        ] == []
    return status


def test_command_lines_that_are_right_are_taken(box):
    with without_what_takes_long():
        assert [attempt(box, line) for line in RIGHT] == [0] * len(RIGHT)


@fuzzed
@given(line=command_lines())
def test_any_command_line_is_taken_or_refused_in_one_sentence(box, line):
    with without_what_takes_long():
        event(f"status {attempt(box, line)}")


@settings(fuzzed, max_examples=max(1, MANY // 300))
@given(line=command_lines())
def test_a_command_line_keeps_its_promises_to_the_end(box, line):
    # What trains for days is no hang.
    assume(not any(word.isdigit() and len(word) > 3 for word in line))
    with quickly():
        attempt(box, line, may_start="compare-elbos" in line)


# Files.


class Evil:
    """Whoever unpickles it makes a folder, which the guard sees."""

    def __reduce__(self):
        return os.mkdir, ("evil",)


def written(write, *arguments, **options):
    """The bytes that a function writes."""
    file = io.BytesIO()
    write(*(file if each is io else each for each in arguments), **options)
    return file.getvalue()


EVIL = np.empty(8, dtype=object)
EVIL[:] = [Evil()] * 8
# Of every form that a reader might open.
PICKLES = [pickle.dumps(Evil()), written(torch.save, {"x": Evil()}, io)]
PICKLES += [
    written(np.save, io, EVIL, allow_pickle=True),
    written(np.savez, io, x=EVIL, group=EVIL),
]
EXTREMES = [0, 1, -1, 255, 2**16, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 10**30, 10**400]
STRINGS = words("""
    ../../x /etc/passwd code/../../evil.py:Evil ../evil.py:Evil code/model.py:Model npz:/dev/zero
    ~nobody-of-that-name %s nan 1e999 <script> {x} F64 I64 C64 BOOL F8_E5M2 U64
""")
STRINGS += ["", "a\0.py:B", "\ud800", "new\nline", "a" * 5000 + ".py:X", "\x1b[2J"]
integers = st.sampled_from(EXTREMES) | st.integers(-8, 9)
strings = st.sampled_from(STRINGS) | st.text(max_size=3)
anything = st.recursive(
    st.none() | st.booleans() | st.floats() | integers | strings,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=4,
)
forms = st.sampled_from(("<H", "<I", "<Q", ">I", ">Q"))
packed = st.builds(
    lambda form, i: struct.pack(form, i % 256 ** struct.calcsize(form)), forms, integers
)


def spoil_bytes(draw, content):
    """Bytes that are written over, put in or left out; or another file altogether."""
    whole = st.sampled_from([*PICKLES, bytes(100_000), b"\xff" * 100, b"\xff" * 8 + b"{}"])
    piece = draw(st.binary(max_size=16) | packed | whole | st.just(content[:100]))
    if draw(st.integers(0, 5)) == 0:
        return piece
    start = draw(st.integers(0, min(len(content), 128)) | st.integers(0, len(content)))
    left_out = draw(st.sampled_from((0, len(piece), len(piece), 200, len(content))))
    return content[:start] + piece + content[start + left_out :]


def places(value, above=()):
    """The ways to everything inside a value of JSON."""
    inside = value if isinstance(value, dict) else range(len(value) * isinstance(value, list))
    for key in inside:
        yield (*above, key)
        yield from places(value[key], (*above, key))


def spoil_json(draw, content):
    """JSON with another value, without one or with one more; or text as none should be."""
    text = content.decode("utf-8", "replace")
    if draw(st.integers(0, 4)) == 0:
        texts = [
            "[" * 100_000,
            '{"a":' * 50_000,
            "1" * 100_000,
            f'"{"a" * 5_000_000}"',
            "[]",
            "null",
        ]
        texts += [text.replace("1", other) for other in ("NaN", "9" * 5000)] + [text + text]
        texts += [text.replace("{", '{"format_version": 1, "format_version": [], ', 1)]
        codes = [b"\xef\xbb\xbf" + content, text.encode("utf-16"), b'{"x": "\xff"}']
        return draw(st.sampled_from([*(each.encode() for each in texts), *codes]))
    value = json.loads(content)
    *above, key = draw(st.sampled_from([*places(value)]))
    inside = reduce(operator.getitem, above, value)
    how = draw(st.sampled_from(("delete", "add", "change", "change", "change")))
    if how == "change":
        inside[key] = draw(anything)
    elif how == "delete":
        del inside[key]
    elif isinstance(inside, dict):
        inside[draw(strings)] = draw(anything)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def spoil_tensors(draw, content):
    """A safetensors file with another header, metadata or values, and a digest that fits."""
    size = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + size], content[8 + size :]
    metadata = json.loads(header).get("__metadata__", {})
    how = draw(st.sampled_from(("header", "metadata", "values")))
    if how == "values":
        start = 4 * draw(st.integers(0, len(data) // 4))
        value = struct.pack("<f", draw(st.sampled_from((np.nan, np.inf, 3e38))))
        data = (data[:start] + value + data[start + 4 :])[: len(data)]
    elif how == "metadata" and metadata:
        key = draw(st.sampled_from(sorted(metadata)))
        spoil = draw(st.sampled_from((spoil_json, spoil_bytes)))
        metadata[key] = spoil(draw, metadata[key].encode()).decode("utf-8", "replace")
        header = json.dumps(json.loads(header) | {"__metadata__": metadata}).encode()
    else:
        header = spoil_json(draw, header)
    spoiled = len(header).to_bytes(8, "little") + header + data
    if "sha256" not in metadata:
        return spoiled
    with contextlib.suppress(Exception):  # or there is nothing that could be signed
        tensors, metadata = load(spoiled), json.loads(header)["__metadata__"]
        del metadata["sha256"]
        return save(tensors, {**metadata, "sha256": digest(tensors, metadata)})
    return spoiled


def spoil_header(draw, content):
    """The data of an npy file under a header that says something else."""
    sides = st.lists(integers.filter(lambda i: i < 10**400), max_size=5)
    odd = ["('a',)", "None", "8", "(8.0,)", "[8]", f"(1{', 1' * 100})", f"({'(' * 90}8{',)' * 90})"]
    shape = draw(st.sampled_from(odd) | sides.map(lambda sides: str(tuple(sides))))
    kinds = words(
        "'|O' '<U0' '|V0' '|V8' '<U999999999' [('a','|O')] ('<f4',(2,2)) [] () None '<f3' {'a':1}"
    )
    kind = draw(hnp.scalar_dtypes().map(lambda dtype: repr(dtype.str)) | st.sampled_from(kinds))
    right = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}"
    odd = [
        "(" * 9000,
        "-" * 9000 + "1",
        "{1: 2, 'a': 3}",
        "__import__('os')",
        "{'descr': '<f4'}",
        "",
    ]
    text = draw(st.sampled_from([*[right] * 9, *odd])).encode() + b"\n"
    version = draw(st.sampled_from((1, 1, 2, 3, 9)))
    length = draw(st.sampled_from((len(text), len(text), 0, 2**32 - 1)))
    size = struct.pack("<H", length % 2**16) if version == 1 else struct.pack("<I", length)
    data = draw(st.sampled_from((content[content.find(b"\n") + 1 :], b"", bytes(64))))
    return b"\x93NUMPY" + bytes((version, 0)) + size + text + data


def spoil_array(draw, content):
    """Another array, sound in itself."""
    if draw(st.integers(0, 4)) == 0:
        value = draw(st.sampled_from((np.nan, np.inf, 3e38, 1e-45)))
        return written(np.save, io, np.full((40, *SHAPE), value, "f4"))
    kinds = hnp.scalar_dtypes() | hnp.unicode_string_dtypes(max_len=9)
    kinds |= hnp.array_dtypes(max_size=2)
    shapes = st.sampled_from(((40, *SHAPE), (40,), (40, 0), (40, *(1,) * 31), ()))
    array = draw(hnp.arrays(kinds, shapes | hnp.array_shapes(min_side=0)))
    return written(np.save, io, array)


def spoil_archive(draw, content):
    """An npz file with other members, under other names, or of zeros that fill memory."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw(st.sampled_from(sorted(members)))
    other = draw(st.sampled_from(words("../../x.npy /x.npy x group label.npy X.npy x.npy/")))
    how = draw(st.sampled_from(("spoil", "spoil", "add", "rename", "bomb")))
    if how == "spoil":
        spoil = draw(st.sampled_from((spoil_header, spoil_array, spoil_bytes)))
        members[name] = spoil(draw, members[name])
    elif how == "add":
        members[other] = draw(st.sampled_from([*PICKLES, b"", members[name]]))
    elif how == "rename":
        members[other] = members.pop(name)
    else:
        members[name] = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**26) + bytes(2**26)
    packing = draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", packing) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return file.getvalue()


def spoil_gzip(draw, content):
    """A gzip file of something else: pixels damaged, or zeros that fill a disk."""
    bomb = draw(st.integers(0, 9)) == 0
    inside = bytes(2**26) if bomb else spoil_bytes(draw, gzip.decompress(content))
    return gzip.compress(inside, mtime=0)


def spoil_table(draw, content):
    """A table with another cell, a cell more or less, or other names."""
    rows = [line.split(b",") for line in content.split(b"\n")]
    row = draw(st.sampled_from(rows))
    place = draw(st.integers(0, len(row)))
    cell = draw(hostile_words | st.sampled_from(('"', "\0", ",,", "donor", "age", "\r")))
    cells = [cell.encode("utf-8", "replace")] * draw(st.integers(0, 2))
    row[place : place + draw(st.integers(0, 2))] = cells
    return b"\n".join(b",".join(row) for row in rows)


def open_run(at):
    """Open a run, and the plain VAE in it."""
    runs.load_run(at / "run")
    runs.load_vae(at / "run")


def restore_checkpoint(at):
    """Read a checkpoint that may have been made to deceive, down to its digest."""
    pair = dict(zip(("model", "guide"), CONFIG.build(SHAPE), strict=True))
    Checkpoint(at / "run" / CHECKPOINT).restore(pair, Adam({"lr": 1e-3}), Ranks()).history.rows()


def report(at):
    write_report(at / "run")


def loads(data, root="", **options):
    """What reads a data set whose name has the place of the box for AT."""
    return lambda at: load_dataset(data.replace("AT", str(at)), at / root, **options).batch()


mnist, fashion = (f"{name}/raw/{{}}" for name in ("MNIST", "FashionMNIST"))
table = loads("csv:AT/table.csv", columns=TableColumns(group="donor"))
pictures = loads("folder:AT/images", image_size=8)
# The file that is damaged, what reads it, and the ways to damage it beside its bytes.
READERS = [
    ("data.npz", loads("npz:AT/data.npz"), (spoil_archive,) * 3),
    ("arrays/x.npy", loads("npy:AT/arrays"), (spoil_header, spoil_array) * 2),
    ("arrays/group.npy", loads("npy:AT/arrays"), (spoil_header, spoil_array) * 2),
    ("table.csv", table, (spoil_table,) * 2),
    ("run/config.json", open_run, (spoil_json,) * 3),
    ("run/vae/config.json", open_run, (spoil_json,) * 3),
    ("run/metrics.json", report, (spoil_json,) * 3),
    ("run/explorer.safetensors", report, (spoil_tensors,) * 3),
    ("run/model.safetensors", open_run, (spoil_tensors,) * 3),
    (f"run/{CHECKPOINT}", restore_checkpoint, (spoil_tensors,) * 3),
    (mnist.format(IDX_FILES[0]), loads("mnist"), ()),
    (mnist.format(IDX_FILES[3]), loads("mnist"), ()),
    (fashion.format(f"{IDX_FILES[0]}.gz"), loads("fashion-mnist"), (spoil_gzip,)),
    ("images/a/0.png", pictures, ()),
    ("images/a/2.jpg", pictures, ()),
]


def read_back(box, read):
    """Read a file of the box; whether it was refused, which is in one sentence."""
    said = None
    try:
        with box.watch(), torch.random.fork_rng([]):
            read(box.work)
    except InputError as error:
        said = str(error)
    assert said is None or (said.isprintable() and len(said) > 20)
    return said is not None


def test_files_that_are_sound_are_read(box):
    assert [name for name, read, _ in READERS if read_back(box, read)] == []


@fuzzed
@given(data=st.data())
def test_any_file_is_read_or_refused_in_one_sentence(box, data):
    name, read, ways = data.draw(st.sampled_from(READERS))
    content = (box.work / name).read_bytes()
    spoiled = content
    for _ in range(data.draw(st.integers(1, 3))):
        with contextlib.suppress(Exception):  # it is damaged already
            spoiled = data.draw(st.sampled_from([*ways, spoil_bytes]))(data.draw, spoiled)
    (box.work / name).write_bytes(spoiled)
    try:
        event(f"{name}: {'refused' if read_back(box, read) else 'read'}")
    finally:
        (box.work / name).write_bytes(content)
    assert box.changed() <= {box.work / "run", box.work / "run" / runs.REPORT}
