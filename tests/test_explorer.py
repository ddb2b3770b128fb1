"""The explorer: what travels into the page, and what a browser decodes there, against PyTorch."""

import json
from dataclasses import replace

import markupsafe
import numpy as np
import pytest
import torch
from safetensors import safe_open
from test_report import HOSTILE, Page, full_metrics

from pyro_mlvae import (
    MLVAE,
    GroupedDataset,
    InputError,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ProductOfNormals,
    runs,
)
from pyro_mlvae.cli import explore, finishing
from pyro_mlvae.cli.main import run
from pyro_mlvae.latents import encode, group_content
from pyro_mlvae.latents.decoding import decode
from pyro_mlvae.runs import report
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.explorer import _sizes, save_explorer
from pyro_mlvae.runs.folder import EXPLORER
from pyro_mlvae.runs.report import write_explorer, write_report
from pyro_mlvae.runs.travel import MOST_PARAMETERS, travelling

FEW = {"hidden": (24,), "content_dim": 5, "style_dim": 3}
# Settings, the shape of an observation, and how its values are drawn.
CASES = {
    "mlp": ({}, (1, 8, 8), "unit"),
    "mlp of colour": ({"network": "mlp"}, (3, 6, 5), "wide"),
    "conv": ({"likelihood": "bernoulli"}, (1, 18, 21), "unit"),
    "conv of colour": ({"likelihood": "normal-learned"}, (3, 16, 16), "wide"),
    "posed": ({"network": "posed", "style_dim": 8}, (1, 18, 21), "unit"),
    "vectors": ({}, (9,), "wide"),
    "heat map": ({"likelihood": "continuous-bernoulli"}, (420,), "unit"),
    "counts": ({"likelihood": "counts"}, (7,), "counts"),
    "shares": ({"likelihood": "counts", "library_size": True}, (7,), "counts"),
}


def observations(shape, values, count=40):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, *shape, generator=generator)
    if values == "counts":
        return (x * 9).round()
    return 30.0 * x - 12.0 if values == "wide" else x


def data_of(shape, values="unit"):
    x = observations(shape, values)
    return GroupedDataset.from_arrays(x, np.array(["abcdefg"[i % 7] for i in range(len(x))]))


def pair_of(settings, shape, data):
    config = RunConfig(**FEW | settings)
    pair = config.build(shape, config.scaling(data))
    with torch.no_grad():  # initial weights hardly depend on the code
        for parameter in pair[0].decoder.parameters():
            parameter.mul_(2.0).add_(0.05 * torch.randn(parameter.shape))
    return config, pair


def make_run(folder, settings=None, data=None, pair=None):
    """A run folder with its explorer, with the pair and the data that it was made from."""
    data = data_of((1, 8, 8)) if data is None else data
    config, made = pair_of(settings or {}, data.event_shape, data)
    pair = pair or made
    runs.prepare_run_folder(folder)
    runs.save_config(folder, config, data.event_shape)
    return folder, *pair, data, save_explorer(folder, *pair, data)


def tensors_of(folder):
    with safe_open(folder / EXPLORER, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        return about, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def page_of(folder):
    return write_explorer(folder, folder / "explorer.html").read_text("utf-8")


def test_a_browser_decodes_what_pytorch_decodes(in_browser, tmp_path):
    codes = torch.randn(4, 13, generator=torch.Generator().manual_seed(1))
    pages, expected = [], []
    for i, (settings, shape, values) in enumerate(CASES.values()):
        settings = dict(settings)
        library_size = settings.pop("library_size", False)
        data = data_of(shape, values)
        config, (model, guide) = pair_of(settings, shape, data)
        model.likelihood.library_size = library_size
        folder = runs.prepare_run_folder(tmp_path / str(i))
        runs.save_config(folder, config, shape)
        assert save_explorer(folder, model, guide, data) == ""
        pages.append(page_of(folder))
        style = codes[:, 5 : 5 + config.style_dim]
        expected.append(decode(model, codes[:, :5], style).flatten(1))
    work = f"""view => {codes.tolist()}.map(code => {{
        const own = code.slice(0, view.explorer.state.code.length);
        return [...view.explorer.decode(own)];
    }})"""
    for name, found, wanted in zip(CASES, in_browser(pages, work), expected, strict=True):
        error = (torch.tensor(found) - wanted).abs().max()
        assert error < 1e-2 * (wanted.max() - wanted.min()), name
        assert wanted.std(0).max() > 0.05 * (wanted.max() - wanted.min()), name


# Click a content, a style, and three observations as evidence: what is painted, and how soon.
CLICK = """view => {
    const rows = name => [...view.document.querySelectorAll(`[data-row=${name}] input`)];
    const big = view.document.querySelector("[data-result] canvas");
    const pixels = () => {
        const context = big.cloneNode().getContext("2d");
        context.drawImage(big, 0, 0);
        return [...context.getImageData(0, 0, big.width, big.height).data];
    };
    rows("style")[2].click();
    rows("content")[3].click();
    const one = pixels();
    rows("evidence")[2].click();
    const three = pixels();
    const said = view.document.querySelector("[data-result] figcaption").textContent;
    const slider = view.document.querySelector("[data-sliders=content] input");
    let moved = null;
    if (slider) {
        slider.value = "2.5";
        slider.dispatchEvent(new view.Event("input"));
        moved = pixels();
        rows("path")[8].click();
    }
    const last = [...view.explorer.state.code], size = [big.width, big.height];
    return {one, three, said, moved, last, size};
}"""


def painted(x, ink=False):
    """Pixels of a grey picture, ``[height, width]`` in [0, 1], as a canvas has them."""
    x = x.clamp(0.0, 1.0)
    grey = 255 * (1 - x if ink else x)
    return torch.stack([grey, grey, grey, torch.full_like(grey, 255.0)], -1).flatten()


def test_what_is_clicked_is_swapped(in_browser, tmp_path):
    folder, model, guide, data, _ = make_run(tmp_path / "run")
    _, tensors = tensors_of(folder)
    [found] = in_browser([page_of(folder)], CLICK)
    own = (data.group == data.group[3]).nonzero().flatten()[:3]
    codes = encode(guide, data.observations(own))
    style = tensors["style.style"][2]
    for name, count in (("one", 1), ("three", 3)):
        content = group_content(
            guide, codes, torch.arange(count), torch.zeros(count, dtype=torch.int64)
        )
        wanted = painted(decode(model, content.mean[0], style)[0])
        assert (torch.tensor(found[name]) - wanted).abs().max() < 4.0, name
    scale = content.stddev.mean()
    said = f"Content of group d, from 3 observations (posterior scale {scale:.2f}, prior 1)."
    assert found["said"].startswith(said)
    assert found["moved"] != found["three"]
    assert found["size"] == [8, 8]
    last = torch.cat([tensors["style.content"][2], style])
    assert torch.allclose(torch.tensor(found["last"]), last, atol=1e-6)


def test_ink_is_dark_on_light(in_browser, tmp_path):
    folder, _, _, data, _ = make_run(tmp_path / "run", data=replace(data_of((1, 8, 8)), ink=True))
    work = """view => {
        const canvas = view.document.querySelector("[data-row=content] canvas");
        return [...canvas.getContext("2d").getImageData(0, 0, 8, 8).data];
    }"""
    [found] = in_browser([page_of(folder)], work)
    assert (torch.tensor(found) - painted(data.x[0, 0], ink=True)).abs().max() < 2.0


class Wave(MLPDecoder):
    """A decoder of one's own."""


def test_a_decoder_of_ones_own_has_pictures_decoded_in_advance_and_the_page_says_why(
    in_browser, tmp_path
):
    model = MLVAE(Wave((1, 8, 8), 2, 1, hidden=(6,)), NormalLikelihood(), 2, 1)
    own = model, ProductOfNormals(MLPEncoder((1, 8, 8), 2, 1, hidden=(6,)))
    folder, *_, why = make_run(tmp_path / "run", pair=own)
    assert why == "Wave is not one of the library's decoders"
    about, tensors = tensors_of(folder)
    assert about["layers"] == []
    page = page_of(folder)
    assert f"no sliders and no path: {markupsafe.escape(why)}." in page
    [found] = in_browser([page], CLICK)
    wanted = painted(decode(model, tensors["content.loc"][3, 2], tensors["style.style"][2])[0])
    assert (torch.tensor(found["three"]) - wanted).abs().max() < 2.0
    assert found["moved"] is None


def test_what_cannot_travel_says_why():
    class Drawn(MLVAE):
        def observation(self, content, style):
            return super().observation(content, style)

    class Other(NormalLikelihood):
        pass

    decoder = MLPDecoder((4,), 2, 1, hidden=(3,))
    assert "in a way of its own" in travelling(Drawn(decoder, NormalLikelihood(), 2, 1))[2]
    assert (
        "Other is not one of the library's likelihoods"
        in travelling(MLVAE(decoder, Other(), 2, 1))[2]
    )
    large = MLPDecoder((1001,), 2, 1, hidden=(MOST_PARAMETERS // 1000,))
    assert "and a page takes 1,000,000" in travelling(MLVAE(large, NormalLikelihood(), 2, 1))[2]
    with torch.no_grad():
        decoder.layers[0].weight[0, 0] = 1e6
    assert "half precision cannot hold" in travelling(MLVAE(decoder, NormalLikelihood(), 2, 1))[2]


@pytest.mark.parametrize(
    "settings",
    [{"guide": "average-of-normals"}, {"guide": "product-with-prior"}, {"model": "mixture-prior"}],
)
def test_content_is_inferred_by_the_guide_itself(settings, tmp_path):
    folder, _, guide, data, _ = make_run(tmp_path / "run", settings)
    about, tensors = tensors_of(folder)
    own = (data.group == data.group[2]).nonzero().flatten()
    assert about["sizes"] == [min(8, int((data.group == i).sum())) for i in data.group[:7]]
    codes = encode(guide, data.subset(own))
    for count in (1, 4, len(own)):
        content = group_content(
            guide, codes, torch.arange(count), torch.zeros(count, dtype=torch.int64)
        )
        assert torch.allclose(tensors["content.loc"][2, count - 1], content.mean[0], atol=1e-5)
        assert torch.allclose(tensors["content.scale"][2, count - 1], content.stddev[0], atol=1e-5)
    # Beyond the group it stays as it is.
    assert torch.equal(tensors["content.loc"][2, len(own) - 1], tensors["content.loc"][2, -1])


def test_groups_of_one_held_out_observation_are_both_rows(tmp_path):
    folder, *_ = make_run(tmp_path / "run", data=data_of((1, 8, 8)).subset(torch.arange(7)))
    about, tensors = tensors_of(folder)
    assert about["sizes"] == [1] * 7
    assert tensors["x.style"].shape == (7, 64)


def test_large_images_have_shorter_rows_and_too_large_ones_none():
    assert _sizes(64, sprites=True) == (12, 8)
    assert _sizes(3 * 64 * 64, sprites=False) == (12, 4)
    assert _sizes(3 * 64 * 64, sprites=True) == (6, 2)
    with pytest.raises(InputError, match="786,432 values is too large for a page"):
        _sizes(3 * 512 * 512, sprites=False)


@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_is_no_wider_than_its_window_and_fetches_nothing(in_browser, tmp_path, width):
    folder, *_ = make_run(tmp_path / "run", {"content_dim": 40})
    work = """view => {
        const page = view.document;
        for (const details of page.querySelectorAll("details")) details.open = true;
        const fetched = view.performance.getEntriesByType("resource").map(entry => entry.name);
        const {scrollWidth} = page.documentElement;
        const unnamed = [...page.querySelectorAll("input")].filter(input =>
            !(input.ariaLabel || input.parentElement.textContent)).length;
        return {scrollWidth, unnamed, fetched: fetched.filter(name => !name.startsWith("data:")),
            sliders: page.querySelectorAll("[data-sliders=content] input").length};
    }"""
    [found] = in_browser([page_of(folder)], work, width)
    assert found == {"scrollWidth": width, "unnamed": 0, "fetched": [], "sliders": 32}


def test_without_javascript_the_page_says_so_and_shows_no_dead_controls(tmp_path):
    folder, *_ = make_run(tmp_path / "run")
    page = page_of(folder)
    assert (
        "<noscript><p>The explorer needs JavaScript; the rest of the page does not.</p></noscript>"
        in page
    )
    assert "<div data-app hidden>" in page


def reported(folder, metrics=None):
    runs.write_json(folder / runs.METRICS, metrics or full_metrics())
    return write_report(folder).read_text("utf-8")


def test_the_report_has_the_explorer_and_runs_no_other_script(in_browser, tmp_path):
    data = data_of((1, 8, 8))
    data = replace(data, group_names=(HOSTILE, *data.group_names[1:]))
    folder, *_ = make_run(tmp_path / "run", data=data)
    html = reported(folder)
    page = Page(html)
    assert [attributes.get("id") for attributes, _ in page.all("script")] == ["explorer-data", None]
    assert "#explorer" in [attributes["href"] for attributes, _ in page.all("a")]
    bad = html.replace("<main>", "<main><script>window.explorer = 1</script>")
    said = "view => view.document.querySelector('[data-result] figcaption').textContent"
    [found] = in_browser([html], said)
    assert f"Content of group {HOSTILE}, from 1 observation " in found
    with pytest.raises(AssertionError, match="Content Security P"):
        in_browser([bad], said)
    (folder / EXPLORER).unlink()
    assert "explorer" not in Page(reported(folder)).text


def test_a_report_that_would_be_too_large_names_the_command_instead(tmp_path, monkeypatch):
    folder, *_ = make_run(tmp_path / "run")
    monkeypatch.setattr(report, "MOST_BYTES", 60_000)
    page = Page(reported(folder))
    assert f"This command writes it alone: pyro-mlvae explore {folder}" in page.text
    assert not page.all("script")


def test_a_run_whose_explorer_cannot_be_made_is_complete_without(tmp_path, capsys):
    folder, model, guide, data, _ = make_run(tmp_path / "run")
    finishing._explorer(folder, (model, guide), data.subset(torch.arange(0)))
    assert not (folder / EXPLORER).exists()
    assert (
        "there is no explorer (InputError: there are no held-out observations"
        in capsys.readouterr().err
    )


def test_a_damaged_file_is_named(tmp_path):
    folder, *_ = make_run(tmp_path / "run")
    file = folder / EXPLORER
    whole = file.read_bytes()
    for damaged in (
        b"",
        whole[:100],
        whole[:-1],
        whole.replace(b'"format_version":"1"', b'"format_version":"9"'),
    ):
        file.write_bytes(damaged)
        with pytest.raises(
            InputError, match=r"explorer.safetensors is damaged .* pyro-mlvae evaluate"
        ):
            page_of(folder)
    file.unlink()
    with pytest.raises(InputError, match=r"explorer.safetensors is missing: pyro-mlvae evaluate"):
        page_of(folder)


def test_explore_writes_the_page_and_opens_it_for_a_person_alone(tmp_path, monkeypatch, capsys):
    folder, *_ = make_run(tmp_path / "run")
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    assert run(["explore", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / 'explorer.html'}\n"
    assert not opened
    out = tmp_path / "a page.html"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert explore.Explore(folder, out).run() == 0
    assert opened == [out.as_uri()]
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    assert explore.Explore(folder, out).run() == 0
    assert len(opened) == 1
    assert run(["explore", str(tmp_path / "nothing")]) == 2
