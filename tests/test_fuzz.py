"""Command lines and files that are wrong in every way: taken, or refused in one sentence, and nothing else.

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
from functools import partial, reduce
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
from quick import quickly
from safetensors import safe_open
from safetensors.torch import save

from pyro_mlvae import GroupSampler, InputError, fit, load_dataset, runs
from pyro_mlvae.cli import compare_elbos, comparing, drawing, evaluating, operate, training
from pyro_mlvae.cli.main import run
from pyro_mlvae.data.idx import IDX_FILES
from pyro_mlvae.data.table_files import TableColumns
from pyro_mlvae.estimators.terms import ElboTerms
from pyro_mlvae.evaluation import evaluate
from pyro_mlvae.runs import options
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.explorer import save_explorer
from pyro_mlvae.runs.folder import CHECKPOINT
from pyro_mlvae.runs.report import write_report
from pyro_mlvae.training import Checkpoint, EpochRecord, History
from pyro_mlvae.training.checkpoint import digest
from pyro_mlvae.training.ranks import Ranks

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("types_unchecked")]
MANY = int(os.environ.get("FUZZ", "100"))
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


def words(text):
    return text.split()


def make_files(work):
    """The files as they should be, and beside their folder one that is nobody's business."""
    for name in words(
        "arrays images/a images/b MNIST/raw FashionMNIST/raw run/vae empty broken ../canary"
    ):
        (work / name).mkdir(parents=True)
    for name in ("canary.txt", "../canary/canary.txt"):
        (work / name).write_text("sings")
    (work / "own.py").write_text(OWN)
    (work / "broken.py").write_text("raise OSError('of its own')")
    (work / "broken" / runs.CONFIG).write_text("{}")
    generator = np.random.default_rng(0)
    x, group = generator.random((40, *SHAPE), dtype=np.float32), np.array([*"abcd"] * 10)
    np.savez(work / "data.npz", x=x, group=group, label=np.arange(40))
    np.save(work / "arrays/x.npy", x)
    np.save(work / "arrays/group.npy", group)
    rows = [f"{name},{i},{i / 7:.3f}" for i, name in enumerate(group)]
    (work / "table.csv").write_text("\n".join(["donor,age,dose", *rows]))
    for i, pixels in enumerate((x[:20, 0] * 255).astype(np.uint8)):
        Image.fromarray(pixels).save(
            work / f"images/{'ab'[i % 2]}/{i}.{('png', 'jpg')[i % 4 // 2]}"
        )
    sides = b"".join(side.to_bytes(4, "big") for side in (3, 28, 28))
    for part in ("train", "t10k"):
        for name, content in (
            ("images-idx3-ubyte", b"\0\0\x08\x03" + sides + bytes(3 * 28 * 28)),
            ("labels-idx1-ubyte", b"\0\0\x08\x01" + sides[:4] + bytes((1, 2, 1))),
        ):
            (work / f"MNIST/raw/{part}-{name}").write_bytes(content)
            (work / f"FashionMNIST/raw/{part}-{name}.gz").write_bytes(gzip.compress(content))
    for folder, config in ((work / "run", CONFIG), (work / "run/vae", CONFIG.plain_vae())):
        runs.save_config(folder, config, SHAPE)
        runs.save_weights(folder, *config.build(SHAPE))
    pair, data = CONFIG.build(SHAPE), load_dataset(f"npz:{work}/data.npz")
    fit(*pair, GroupSampler(data, 2), epochs=2, checkpoint=Checkpoint(work / "run" / CHECKPOINT))
    with quickly():
        metrics = evaluate(*pair, pair[1], data, data, data_name="digits", ks=(1,))
    runs.write_json(work / "run" / runs.METRICS, metrics)
    save_explorer(work / "run", *pair, data)


def absolute(path):
    """The path, of which no link is followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100


class Hang(BaseException):
    """Ends what takes too long; no handler for exceptions may take it for one of its own."""


class Box:
    """A copy of the files, in which everything happens; made anew where something was written.

    It refuses, and remembers, what is written, run, unpickled or connected to without the right to.
    """

    def __init__(self, folder):
        self.may_write, self.may_start, self.broken, self.wrote = None, False, [], False
        sys.addaudithook(self._hook)
        self.folder, self.work = folder, folder / "box" / "work"
        make_files(folder / "whole" / "work")

    def restore(self):
        shutil.rmtree(self.folder / "box", ignore_errors=True)
        shutil.copytree(self.folder / "whole", self.folder / "box")
        os.chdir(self.work)

    def lost(self):
        """The files that are not what they were."""
        whole = {path: self.folder / "box" / path.relative_to(self.folder / "whole")
                 for path in (self.folder / "whole").rglob("*") if path.is_file()}  # fmt: skip
        return [
            p for p, now in whole.items() if not now.is_file() or now.read_bytes() != p.read_bytes()
        ]

    @contextlib.contextmanager
    def watch(self, may_write, *, may_start=False):
        self.may_write, self.may_start, self.broken, self.wrote = may_write, may_start, [], False
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            yield
        except Hang:
            raise AssertionError(f"it takes more than {SECONDS} s of processor time") from None
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.may_write = None
        assert not self.broken

    def _hook(self, event, arguments):
        if self.may_write is None:
            return
        if event == "open":
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
        elif event in STARTS and not self.may_start:
            self._refuse(f"a process was started ({event})")
        elif event == "pickle.find_class":
            self._refuse(f"{arguments[0]}.{arguments[1]} was unpickled")
        elif event in ("socket.connect", "socket.getaddrinfo"):
            raise ConnectionRefusedError("there is no network here")

    def _write(self, event, path):
        if isinstance(path, int) or os.fspath(path) == os.devnull:
            return
        self.wrote = True
        if not self.may_write(absolute(os.fsdecode(path))):
            self._refuse(f"{event} of {os.fsdecode(path)!r}")

    def _refuse(self, what):
        self.broken.append(what)
        raise PermissionError(13, "Permission denied")


# How many of an event's first arguments are paths that are written to.
WRITES = {"os.rename": 2, "os.symlink": 2, "os.link": 2} | dict.fromkeys(
    ("os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.chown", "os.utime"), 1
)
STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pty.spawn")


@pytest.fixture(scope="module")
def one_box(tmp_path_factory):
    return Box(tmp_path_factory.mktemp("fuzz").resolve())


@pytest.fixture
def box(one_box, monkeypatch):
    """The box, with limits of time and memory."""

    def hang(*_):
        raise Hang

    monkeypatch.chdir(Path.cwd())  # where the test is left again
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
    "--hidden 4 --epochs 1 --device cpu --estimators trace --particles 1 --seconds 0 --draws 2 "
    "--reference-draws 4 --groups 2 --no-memory"
)
# Command lines that are right, from which the others are made.
RIGHT = [
    line.split()
    for line in (
        f"train --out out {SMALL} --no-vae",
        f"train --out out {SMALL}",
        "train --resume run --epochs 4",
        f"train --out run --overwrite {SMALL} --no-vae",
        f"train --out out {SMALL} --data folder:images --image-size 8 --grayscale --augment affine",
        f"train --out out {SMALL} --data csv:table.csv --group-column donor --feature-columns age dose",
        f"train --out out --hold-out-groups a b --seed 3 {SMALL}",
        f"train --out out --model own.py:Model --guide own.py:Guide {SMALL}",
        f"train --out out --elbo group-renyi --alpha 0.3 --num-particles 2 {SMALL}",
        f"train --out out --hsic 1 --beta-style 2 --warmup-steps 3 --preset paper {SMALL}",
        "evaluate run --device cpu",
        "evaluate run --data npy:arrays --data-root .",
        f"compare-elbos --out out --data npz:data.npz {COMPARE}",
        f"compare-elbos --out out --data linear-gaussian {COMPARE[11:]}",
        "swap run --out out.png --content 1 2 --style 3 --evidence 1",
        "interpolate run --out out.png --steps 3 --vary both",
        "generate run --out out.png --rows 2 --columns 2 --seed 1",
        "traverse run --out out.svg --which style --content 2",
        "embed run --out out.npz --data npz:data.npz --device cpu",
        "datasets --data-root .",
    )
]
OPTIONS = (
    *(options.DataOptions, options.ModelOptions, options.ObjectiveOptions, options.TrainingOptions),
    *(
        compare_elbos.CompareElbos,
        operate.Swap,
        operate.Interpolate,
        operate.Generate,
        operate.Traverse,
    ),
)
FLAGS = [f"--{field.name.replace('_', '-')}" for each in OPTIONS for field in fields(each)]
FLAGS += words(
    "--no-vae --no-epochs --Epochs --epoch -e --= --data=digits --hidden=3 --overwrite --resume"
)
NUMBERS = words("-1 1e3 1.5 nan -inf 1e308 1e-320 1_0 0x10 ٣ 2147483648 9223372036854775808")
NUMBERS += ["9" * 5000]
PATHS = words("""
    . .. / out out/a/b run ../canary ../canary/new canary.txt data.npz table.csv /dev/null /dev/full
    /proc/self/new /nowhere/new ~ ~nobody-of-that-name/x $HOME * ünïcode out.png out.PNG out.jpg images
    arrays run/config.json run.png run/vae broken empty %s%n {x} CON - -- run/figures/x.png data.npz/x.png
""")
PATHS += ["", "a b", "new\nline.png", "tab\t.npz", "\x1b[31mred", "\udcff", "a" * 300, "a/" * 3000]
NAMES = words("""
    digits glyphs linear-gaussian mnist fashion-mnist omniglot celeba lfw digit : http://x/y npz:npz:x
    mlvae vae three-level mixture-prior auto product-of-normals ada-gvae own.py:Model own.py:Nothing
    own.py: .py: x.py:Y broken.py:Model own.py:Model:Guide trace renyi nested-iwae dreg rws local
    normal bernoulli counts conv observations cuda cuda:-1 cuda:9999999999999999999999 meta mask
""")
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
            line[:1] = [
                draw(st.sampled_from([*{right[0] for right in RIGHT}, "trian", "help", ""]))
            ]
    return line


@contextlib.contextmanager
def without_what_takes_long():
    """Training is one minibatch, which is formed but not learned from; nothing is measured or drawn."""
    record = EpochRecord(1, 0.0, 0.0, ElboTerms(0.0, {}, 1, 1))

    def no_fit(model, guide, sampler, *, callback, **_):
        next(sampler.epoch(0))
        callback(record)
        return History([record])

    figures = ("swap_grid", "interpolation_figure", "generation_figure", "traversal_figure")
    drawn = {name: getattr(drawing.plotting, name) for name in drawing.plotting.__all__}
    drawn |= dict.fromkeys(figures, lambda *_, **__: Figure((1, 1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fit", no_fit)
        patch.setattr(drawing, "plotting", SimpleNamespace(**drawn))
        for module in (training, evaluating):
            patch.setattr(module, "finish", lambda *_, **__: ("report.html", {}))
            patch.setattr(module, "print_results", lambda *_: None)
        patch.setattr(evaluating, "evaluate", lambda *_, **__: {})
        patch.setattr(evaluating, "write_report", lambda *_: None)
        patch.setattr(comparing, "compare_elbos", lambda *_, **__: {"seconds": 0.0, "rows": []})
        for name in ("write_csv", "comparison_table", "advice"):
            patch.setattr(comparing, name, lambda *_: "")
        patch.setattr(comparing, "draw_comparison", lambda *_: {})
        yield


def attempt(box, line, *, may_start=False):
    """Run a command line, and see that it keeps every promise; returns its status."""
    named = [name for word in line for name in (word, word.partition("=")[2]) if name]
    places = [absolute(box.work / name) for name in named]

    def may_write(path):
        """Whether the line names that place; only in the box it is then really written."""
        may = any(
            path.is_relative_to(place)
            or place.is_relative_to(path)
            or (path.parent == place.parent and path.name.startswith(f".{place.stem}."))
            for place in places
        )
        if may and not path.is_relative_to(box.folder / "box"):
            raise PermissionError(13, "Permission denied")
        elsewhere = path.is_relative_to(tempfile.gettempdir()) and not path.is_relative_to(
            box.folder
        )
        return may or (may_start and elsewhere)

    out, err = io.StringIO(), io.StringIO()
    try:
        with (
            box.watch(may_write, may_start=may_start),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                status = run(line)
            except SystemExit as exit_:
                status = exit_.code or 0
        lost = box.lost() if box.wrote else []
    finally:
        if box.wrote:
            box.restore()
    said, last = err.getvalue(), err.getvalue().rstrip("\n").split("\n")[-1]
    assert "Traceback" not in said
    assert status in (0, 2), said
    if status:
        assert last.startswith("pyro-mlvae: "), said
        assert last.isprintable()
        assert len(last) > 20
        sentences = [line for line in said.split("\n") if line.startswith("pyro-mlvae: ")]
        assert len(set(sentences)) == len(sentences), "an error was printed twice"
        assert "\N{BOX DRAWINGS LIGHT ARC DOWN AND RIGHT}" not in said
        assert out.getvalue() == ""
        assert lost == []
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
    assume(
        not any(word.isdigit() and len(word) > 3 for word in line)
    )  # what trains for days is no hang
    with quickly():
        attempt(box, line, may_start="compare-elbos" in line)


# Files.


class Evil:
    """Whoever unpickles it makes a folder, which the guard sees."""

    def __reduce__(self):
        return os.mkdir, ("evil",)


def pickles():
    """Pickles of every form that a reader might open."""
    objects = np.empty(8, dtype=object)
    objects[:] = [Evil()] * 8
    for write in (
        partial(pickle.dump, Evil()),
        partial(torch.save, {"x": Evil()}),
        lambda file: np.save(file, objects, allow_pickle=True),
        lambda file: np.savez(file, x=objects, group=objects),
    ):
        file = io.BytesIO()
        write(file)
        yield file.getvalue()


PICKLES = [*pickles()]
EXTREMES = [0, 1, -1, 255, 2**16, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 10**30, 10**400]
STRINGS = words("""
    ../../x /etc/passwd code/../../evil.py:Evil ../evil.py:Evil code/model.py:Model npz:/dev/zero
    ~nobody-of-that-name %s nan 1e999 <script> {x} F64 I64 C64 BOOL F8_E5M2 U64
""")
STRINGS += ["", "a\0.py:B", "\ud800", "new\nline", "a" * 5000 + ".py:X", "\x1b[2J"]
anything = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.floats(), st.integers(-2, 9),
        st.sampled_from(EXTREMES), st.sampled_from(STRINGS), st.text(max_size=3),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


def spoil_bytes(draw, content):
    """Bytes that are flipped, written over, put in or left out; or another file altogether."""
    start = draw(st.integers(0, min(len(content), 128)) | st.integers(0, len(content)))
    number = st.builds(
        lambda form, value: struct.pack(form, value % 2 ** (8 * struct.calcsize(form))),
        st.sampled_from(("<H", "<I", "<Q", ">I", ">Q")),
        st.sampled_from(EXTREMES),
    )
    pieces = st.sampled_from([b"", bytes(10_000), b"\xff" * 100, content[:100], content[-100:]])
    piece = draw(st.one_of(st.binary(min_size=1, max_size=16), number, pieces))
    how = draw(st.sampled_from(("flip", "over", "insert", "cut", "end", "other")))
    if how == "flip" and start < len(content):
        flipped = content[start] ^ 1 << draw(st.integers(0, 7))
        return content[:start] + bytes([flipped]) + content[start + 1 :]
    if how == "other":
        return draw(st.sampled_from([*PICKLES, piece, bytes(100_000), b"\xff" * 8 + b"{}"]))
    kept = {
        "over": start + len(piece),
        "cut": start + draw(st.integers(0, 200)),
        "end": len(content),
    }
    return (
        content[:start]
        + (piece if how in ("over", "insert") else b"")
        + content[kept.get(how, start) :]
    )


def places(value, above=()):
    """The ways to everything inside a value of JSON."""
    for key in (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    ):
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
            '"' + "a" * 5_000_000 + '"',
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
        inside[draw(st.sampled_from(STRINGS))] = draw(anything)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def spoil_tensors(draw, content):
    """A safetensors file whose header, metadata or values say something else, with a digest that fits."""
    size = int.from_bytes(content[:8], "little")
    text, data = content[8 : 8 + size], content[8 + size :]
    metadata = json.loads(text).get("__metadata__", {})
    how = draw(st.sampled_from(("header", "metadata", "values")))
    if how == "values":
        start = 4 * draw(st.integers(0, len(data) // 4))
        value = draw(st.sampled_from((np.nan, np.inf, 3e38)))
        data = (data[:start] + struct.pack("<f", value) + data[start + 4 :])[: len(data)]
    elif how == "metadata" and metadata:
        key = draw(st.sampled_from(sorted(metadata)))
        spoil = draw(st.sampled_from((spoil_json, spoil_bytes)))
        metadata[key] = spoil(draw, metadata[key].encode()).decode("utf-8", "replace")
        text = json.dumps(json.loads(text) | {"__metadata__": metadata}).encode()
    else:
        text = spoil_json(draw, text)
    return signed(len(text).to_bytes(8, "little") + text + data)


def signed(content):
    """The same safetensors file, with the digest of a checkpoint, if it has one, made to fit."""
    try:
        with tempfile.NamedTemporaryFile() as file:
            Path(file.name).write_bytes(content)
            with safe_open(file.name, framework="pt") as opened:
                metadata = opened.metadata() or {}
                whole = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if metadata.pop("sha256", None) is None:
            return content
        return save(whole, {**metadata, "sha256": digest(whole, metadata)})
    except Exception:  # there is nothing to sign
        return content


def spoil_header(draw, content):
    """The data of an npy file under a header that says something else."""
    sides = st.lists(st.integers(-8, 9) | st.sampled_from(EXTREMES[:-1]), max_size=5)
    odd = ["('a',)", "None", "8", "(8.0,)", "[8]", f"(1{', 1' * 100})", f"({'(' * 90}8{',)' * 90})"]
    shape = draw(st.sampled_from(odd) | sides.map(lambda sides: str(tuple(sides))))
    kinds = words(
        "'|O' '<U0' '|V0' '|V8' '<U999999999' [('a','|O')] ('<f4',(2,2)) [] () None '<f3' {'a':1}"
    )
    kind = draw(hnp.scalar_dtypes().map(lambda dtype: repr(dtype.str)) | st.sampled_from(kinds))
    right = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}}}"
    others = [
        "(" * 9000,
        "-" * 9000 + "1",
        "{1: 2, 'a': 3}",
        "__import__('os')",
        "{'descr': '<f4'}",
        "",
    ]
    text = draw(st.sampled_from([*[right] * 9, *others])).encode() + b"\n"
    version = draw(st.sampled_from((1, 1, 2, 3, 9)))
    length = draw(st.sampled_from((len(text), len(text), 0, 2**32 - 1)))
    size = struct.pack("<H", length % 2**16) if version == 1 else struct.pack("<I", length)
    data = draw(st.sampled_from((content[content.find(b"\n") + 1 :], b"", bytes(64))))
    return b"\x93NUMPY" + bytes((version, 0)) + size + text + data


def spoil_array(draw, content):
    """Another array, sound in itself."""
    kinds = (
        hnp.scalar_dtypes() | hnp.unicode_string_dtypes(max_len=9) | hnp.array_dtypes(max_size=2)
    )
    shapes = st.sampled_from(((40, *SHAPE), (40,), (40, 0), (40, *(1,) * 31), ()))
    array = draw(hnp.arrays(kinds, shapes | hnp.array_shapes(min_side=0)))
    if draw(st.integers(0, 4)) == 0:
        array = np.full((40, *SHAPE), draw(st.sampled_from((np.nan, np.inf, 3e38, 1e-45))), "f4")
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def spoil_archive(draw, content):
    """An npz file with other members, under other names, or of zeros that fill memory."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = draw(st.sampled_from(sorted(members)))
    how = draw(st.sampled_from(("spoil", "spoil", "add", "rename", "bomb")))
    other = draw(st.sampled_from(words("../../x.npy /x.npy x group label.npy X.npy x.npy/")))
    if how == "spoil":
        spoil = draw(st.sampled_from((spoil_header, spoil_array, spoil_bytes)))
        members[name] = spoil(draw, members[name])
    elif how == "add":
        members[other] = draw(st.sampled_from([*PICKLES, b"", members[name]]))
    elif how == "rename":
        members[other] = members.pop(name)
    else:
        members[name] = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**26) + bytes(2**26)
    file = io.BytesIO()
    packing = draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)))
    with zipfile.ZipFile(file, "w", packing) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return file.getvalue()


def spoil_gzip(draw, content):
    """A gzip file of something else: pixels damaged, or zeros that fill a disk."""
    if draw(st.integers(0, 9)) == 0:
        return gzip.compress(bytes(2**26), mtime=0)
    return gzip.compress(spoil_bytes(draw, gzip.decompress(content)), mtime=0)


def spoil_table(draw, content):
    """A table with another cell, a cell more or less, or other names."""
    rows = [line.split(b",") for line in content.split(b"\n")]
    row = draw(st.sampled_from(rows))
    place = draw(st.integers(0, len(row)))
    cell = draw(hostile_words | st.sampled_from(('"', "\0", ",,", "donor", "age", "\r"))).encode(
        "utf-8", "replace"
    )
    row[place : place + draw(st.integers(0, 2))] = [cell] * draw(st.integers(0, 2))
    return b"\n".join(b",".join(row) for row in rows)


def restore_checkpoint(at):
    """Read a checkpoint that may have been made to deceive, down to its digest."""
    pair = dict(zip(("model", "guide"), CONFIG.build(SHAPE), strict=True))
    Checkpoint(at / "run" / CHECKPOINT).restore(pair, Adam({"lr": 1e-3}), Ranks()).history.rows()


def open_run(at):
    """Open a run, and the plain VAE in it."""
    runs.load_run(at / "run")
    runs.load_vae(at / "run")


def table(at):
    return load_dataset(f"csv:{at}/table.csv", columns=TableColumns(group="donor")).batch()


def folder(at):
    return load_dataset(f"folder:{at}/images", image_size=8)


def arrays(at):
    return load_dataset(f"npy:{at}/arrays").batch()


# The file that is damaged, what reads it, and the ways to damage it beside its bytes.
READERS = [
    ("data.npz", lambda at: load_dataset(f"npz:{at}/data.npz").batch(), (spoil_archive,) * 3),
    ("arrays/x.npy", arrays, (spoil_header, spoil_array) * 2),
    ("arrays/group.npy", arrays, (spoil_header, spoil_array) * 2),
    ("table.csv", table, (spoil_table,) * 2),
    ("run/config.json", open_run, (spoil_json,) * 3),
    ("run/vae/config.json", open_run, (spoil_json,) * 3),
    ("run/metrics.json", lambda at: write_report(at / "run"), (spoil_json,) * 3),
    ("run/explorer.safetensors", lambda at: write_report(at / "run"), (spoil_tensors,) * 3),
    ("run/model.safetensors", open_run, (spoil_tensors,) * 3),
    (f"run/{CHECKPOINT}", restore_checkpoint, (spoil_tensors,) * 3),
    (f"MNIST/raw/{IDX_FILES[0]}", lambda at: load_dataset("mnist", at), ()),
    (f"MNIST/raw/{IDX_FILES[3]}", lambda at: load_dataset("mnist", at), ()),
    (
        f"FashionMNIST/raw/{IDX_FILES[0]}.gz",
        lambda at: load_dataset("fashion-mnist", at),
        (spoil_gzip,),
    ),
    ("images/a/0.png", folder, ()),
    ("images/a/2.jpg", folder, ()),
]


def read_back(box, read):
    """Read a file of the box; whether it was refused, which is in one sentence."""

    def may_write(path):
        """A report is written where it belongs; what is unpacked, where temporary files do."""
        if path.is_relative_to(box.folder):
            return path.parent == box.work / "run" and path.name.startswith(
                (".report.", "report.html")
            )
        return path.is_relative_to(tempfile.gettempdir())

    said = None
    try:
        with box.watch(may_write), torch.random.fork_rng([]):
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
