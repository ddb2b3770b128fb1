"""Every test is hermetic: seeded, with an empty parameter store and Pyro's validation on."""

import fcntl
import io
import json
import os
import re
import shutil
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from html import escape, unescape
from types import SimpleNamespace

import jaxtyping
import pyro
import pytest
import torch
from quick import SMALL, quickly

from pyro_mlvae.cli.main import run

# Small tests gain nothing from threads, and lose much where other processes want the cores too.
torch.set_num_threads(1)
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture(autouse=True)
def _hermetic():
    os.environ["COLUMNS"] = "100"  # of the terminal, which some tests have narrower
    pyro.clear_param_store()
    with pyro.validation_enabled(), torch.random.fork_rng([]):
        torch.manual_seed(0)
        yield
    pyro.clear_param_store()


@pytest.fixture
def quick_evaluation():
    with quickly():
        yield


@pytest.fixture
def types_unchecked():
    """What the library itself says of a type, not what the checker says that runs under pytest."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def browse(tmp_path):
    """Open a page in a browser that knows no network, and return what it wrote."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("no chromium on this machine")

    quiet = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
        "--disable-background-networking --disable-component-update --disable-dev-shm-usage"
    )
    own = ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}"]

    def open_page(path, *flags):
        command = [chromium, *quiet.split(), "--hide-scrollbars", *own, *flags, path.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)

    return open_page


# A window cannot be as narrow as a phone's, but a frame can.
HARNESS = """<!DOCTYPE html><body>{frames}<script>
onload = () => {{
    const found = Array.from(frames, (_, i) => ({work})(frames[i]));
    document.documentElement.dataset.found = JSON.stringify(found);
}};
</script>"""


@pytest.fixture
def in_browser(browse, tmp_path):
    """Does some work, a JavaScript function of a window, in each of some pages: what it returns."""

    def work_in(pages, work, width=320):
        style = f"border: 0; width: {width}px; height: 200px"
        frames = "".join(f'<iframe style="{style}" srcdoc="{escape(x)}"></iframe>' for x in pages)
        file = tmp_path / "harness.html"
        file.write_text(HARNESS.format(frames=frames, work=work), "utf-8")
        log = ("--dump-dom", "--enable-logging=stderr", "--v=0")
        done = browse(file, *log, "--window-size=1300,300")
        assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return json.loads(unescape(re.search(r'data-found="([^"]*)"', done.stdout)[1]))

    return work_in


@pytest.fixture
def refusal(capsys):
    """Runs a command line that the user can correct, and gives the sentence that it ends with."""

    def refuse(*arguments):
        capsys.readouterr()  # what came before is none of its words
        assert run([*map(str, arguments)]) == 2
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        assert said.out == ""
        last = said.err.splitlines()[-1]
        assert last.startswith("pyro-mlvae: ")
        return last.removeprefix("pyro-mlvae: ")

    return refuse


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """``once(name, make)``: the folder that ``make`` fills, and what it gives, for all workers."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def get(name, make):
        folder, gave = base / name, base / f"{name}.json"
        with (base / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not gave.exists():
                gave.write_text(json.dumps(make(folder)))
        return folder, json.loads(gave.read_text())

    return get


@pytest.fixture(scope="session")
def digits_run(once):
    """A small run on the digits, of quick measurements and real figures: only to be read.

    Its ``folder``, and the ``status``, ``stdout`` and ``stderr`` of the command.
    """

    def train(folder):
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err), quickly(draw=True, save=True):
            status = run(["train", "--out", str(folder), *SMALL])
        return {"status": status, "stdout": out.getvalue(), "stderr": err.getvalue()}

    folder, said = once("digits-run", train)
    return SimpleNamespace(folder=folder, **said)
