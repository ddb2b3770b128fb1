"""report.html: its numbers, its words, its HTML, and what a browser makes of it."""

import json
import re
import shlex
from base64 import b64decode
from html.parser import HTMLParser
from importlib import resources
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_mlvae import GroupedDataset, InputError, runs
from pyro_mlvae.cli.main import parse
from pyro_mlvae.cli.training import config_of
from pyro_mlvae.evaluation import evaluate
from pyro_mlvae.runs.config import RunConfig
from pyro_mlvae.runs.page import render
from pyro_mlvae.runs.report import write_report

HOSTILE = """<script>alert(1)</script>"' {{ title }} {% raw %} &amp;"""
TEMPLATES = resources.files("pyro_mlvae.runs") / "templates"
FIGURES = re.findall(r'images\.pop\("([^"]+)"', (TEMPLATES / "sections.html").read_text("utf-8"))
EVENT_SHAPE = (1, 8, 8)


def scores(accuracy):
    return {"accuracy": accuracy, "standard_error": 0.011, "cross_entropy": 0.25}


def coded(start):
    content = {k: scores(start + i / 100) for i, k in enumerate(("1", "2", "5", "10"))}
    ways = zip(("draws", "loc", "loc_and_scale"), (-0.4, -0.3, -0.2), strict=True)
    style = {way: scores(start + less) for way, less in ways}
    return {"classifier": "content: linear", "style": style, "content": {**content, "50": None}}


def bound(value):
    terms = {"reconstruction": value + 6.25, "kl_content": 2.0, "kl_style": 4.25}
    found = {
        "per_observation": value,
        "per_group": 9 * value,
        **terms,
        "observations": 359,
        "groups": 40,
    }
    nested = {"nested_iwae_per_observation": value + 1.125, "nested_iwae_standard_error": 0.25}
    draws = {"standard_error": 0.375, "content_draws": 20, "style_draws": 5}
    return {**found, **nested, **draws, "observations_per_group": 10, "units": "nats"}


def factors(start):
    def r2(value):
        return {"turn": start + value, "mean": start + value + 0.01}

    style = {"draws": r2(0.6), "loc": r2(0.7)}
    content = {"draws": r2(-0.1), "loc": r2(0.3)}
    part = {"style": style, "content": content, "latent": r2(0.75)}
    return {"regressor": "content: ridge", "seen": part, "unseen": part}


def shots(one):
    return {k: {"accuracy": one + int(k) / 50, "standard_error": 0.0077} for k in ("1", "5")}


def full_metrics():
    """Every part is there, though no run has both ``probe`` and ``unseen``."""
    unseen = {"groups": 7, "ways": 5, "chance": 0.2, "shots": shots(0.61), "verification_auc": 0.91}
    for name, one in (("vae", 0.51), ("untrained", 0.31), ("pixels", 0.41)):
        unseen[name] = {**shots(one), "verification_auc": one + 0.25}
    unseen["protocols"] = {
        "20-way 1-shot, over all groups": {
            **{"ways": 20, "shots": 1, "within": False, "chance": 0.05},
            **{"accuracy": 0.37, "standard_error": 0.01},
            **{
                name: shots(one)["1"]
                for name, one in (("vae", 0.21), ("untrained", 0.07), ("pixels", 0.11))
            },
        }
    }
    coverage = [[0.5 + k / 100, 0.8, 0.9, 0.95] for k in range(3)]
    swap = {
        **{"consistency": {"1": 0.86, "10": 0.97}, "style_zeroed": {"1": 0.88, "10": 0.98}},
        **{"style_donor": {"1": 0.023, "10": None}, "style_kept": {"1": 0.94, "10": 0.95}},
        "standard_error": {
            **{"consistency": {"1": 0.014, "10": 0.019}, "style_zeroed": {"1": 0.016, "10": 0.03}},
            "style_donor": {"1": 0.004, "10": None},
        },
        "truth": {
            **{"error": {"1": 0.62, "5": 0.61}, "blank": 1.0},
            **{"copy_style_donor": 0.86, "copy_content_donor": 1.2, "nearest_training": 0.54},
            "seen": {
                **{"error": {"1": 0.59, "5": 0.57}, "blank": 1.0},
                **{"copy_style_donor": 0.84, "copy_content_donor": 1.1, "nearest_training": 0.53},
            },
        },
    }
    return {
        "format_version": 2,
        "data": "digits",
        "split": "test",
        "elbo": {**bound(-15.5), "vae": bound(-17.5)},
        "probe": {
            "chance": 0.103,
            **coded(0.96),
            "untrained": coded(0.92),
            "vae": {**coded(0.94), "latent": coded(0.95)["content"]},
        },
        "evidence": {
            **{"k": [1, 2, 5, 10], "content_scale": [0.72, 0.49, 0.31, None]},
            **{"untrained": [0.92, 0.69, 0.41, None], "vae": [0.62, 0.39, 0.21, None]},
        },
        "unseen": unseen,
        "swap": {**swap, "reader_accuracy": 0.985, "vae": swap},
        "factors": {**factors(0.1), "untrained": factors(-0.55), "vae": factors(0.05)},
        "diagnostics": {
            "calibration": {
                "k": [1, 2, 5, 10],
                "levels": [0.5, 0.8, 0.9, 0.95],
                "without_prior": [*coverage, None],
                "with_prior": [*coverage, None],
                "observations_of_whole_group": 36.0,
            },
            "simulation_based": {
                **{"ranks": 400.0, "draws": 49.0, "bins": 10, "band": [25, 56]},
                "sites": {site: {"p": 0.125, "spread": 1.25} for site in ("content", "style")},
            },
            "k_hat": {
                "groups": 40.0,
                "threshold": 0.7,
                "share_above": 0.25,
                "median": 0.625,
                "max": 0.875,
            },
        },
        "active_units": {
            **{"content": 14, "style": 4, "content_dim": 16, "style_dim": 4},
            **{"kl_content": [1.5, 0.75], "kl_style": [1.0, 2.5]},
        },
        "warnings": ["style has collapsed"],
        "seconds": 12.3,
    }


def bare_metrics():
    """What is always there, and nothing else."""
    parts = ("probe", "unseen", "swap", "factors", "diagnostics", "active_units")
    elbo = {**bound(-15.5), "vae": None, "nested_iwae_per_observation": None}
    evidence = {"k": [1, 2], "content_scale": [None, None], "untrained": None, "vae": None}
    return {
        **full_metrics(),
        "elbo": elbo,
        "evidence": evidence,
        "warnings": [],
        **dict.fromkeys(parts),
    }


@pytest.fixture
def make_run(tmp_path):
    """A run folder of those settings and metrics, with a chart and a grid for figures."""

    def make(metrics=None, config=None, figures=("training", "swap", "swap-vae"), **data):
        folder = runs.prepare_run_folder(tmp_path / "run", overwrite=True)
        runs.save_config(folder, config or RunConfig(epochs=2), EVENT_SHAPE, **data)
        runs.write_json(folder / runs.METRICS, full_metrics() if metrics is None else metrics)
        (folder / runs.HISTORY).write_text("epoch,steps,seconds\n1,9,20.5\n2,18,21.7\n")
        (folder / runs.FIGURES).mkdir(exist_ok=True)
        for name in figures:
            size = (1800, 600) if name == "training" else (1400, 1480)
            Image.new("RGB", size, "#0072B2").save(folder / runs.FIGURES / f"{name}.png")
        return folder

    return make


class Page(HTMLParser):
    """The page as a list of elements and a text; raises where tags are not balanced."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.texts, self.texts_of = [], [], [], {}
        self.feed(html)
        self.close()
        assert not self.open
        self.text = re.sub(r" +([,.;])", r"\1", " ".join(" ".join(self.texts).split()))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        assert len(attrs) == len(dict(attrs)), f"an attribute twice: {attrs}"
        if tag not in ("meta", "link", "img"):
            self.open.append((tag, len(self.elements) - 1))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and self.open[-1][0] != "style":
            self.texts.append(data)
        for _, index in self.open:
            self.texts_of[index] = self.texts_of.get(index, "") + data

    def all(self, tag):
        """Attributes and text of each element of that name."""
        found = [i for i, (name, _) in enumerate(self.elements) if name == tag]
        return [(self.elements[i][1], self.texts_of.get(i, "")) for i in found]

    def rows(self):
        """The cells of every row of every table, by its caption and the text of its header."""
        rows, cells, caption = {}, [], ""
        for i, (tag, attributes) in enumerate(self.elements):
            text = self.texts_of.get(i, "")
            if tag == "caption":
                caption = text
            elif tag == "tr":
                cells = []
            elif tag == "td":
                cells.append(text)
            elif tag == "th" and attributes["scope"] == "row":
                rows[caption, text] = cells
        return rows


def read(folder):
    return Page(write_report(folder).read_text("utf-8"))


def numbers_in(value):
    """Every number in a value of JSON, and the sum of every list of numbers."""
    if isinstance(value, list) and all(isinstance(item, float) for item in value):
        yield sum(value)
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(item)
    elif isinstance(value, float | int):
        yield value


class Asked(dict):
    """A part of metrics.json that knows what the page has asked of it."""

    def __init__(self, value):
        super().__init__({k: Asked(v) if isinstance(v, dict) else v for k, v in value.items()})
        self.asked = set()

    def __getitem__(self, name):
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        self.asked.add(name)
        return super().get(name, default)

    def unknown(self, place=""):
        """Places that were asked for and are not there."""
        yield from (f"{place}{name}" for name in self.asked - set(self))
        for name, value in self.items():
            if isinstance(value, Asked):
                yield from value.unknown(f"{place}{name}.")


def test_every_place_that_the_words_name_is_one_of_metrics():
    known = Asked(full_metrics())
    for template in ("headline.html", "sections.html"):
        render(template, m=known, images={}, level=2, toc=[])
    assert not {*known.unknown()}


def test_the_page_shows_the_numbers_of_metrics_each_beside_its_control(make_run):
    page = read(make_run())
    rows = page.rows()
    assert "of one held-out observation with 96.0% accuracy (standard error 1.1%" in page.text
    assert "untrained encoder 92.0%, chance 10.3%, plain VAE 94.0%" in page.text
    assert "draw of style with 56.0% accuracy (untrained encoder 52.0%, chance 10.3%" in page.text

    def row(caption, name):
        [cells] = [
            cells for (of, own), cells in rows.items() if own == name and of.startswith(caption)
        ]
        return cells

    style = [f"{share}% ± 1.1%" for share in ("56.0", "52.0")]
    none = "\N{EN DASH}"
    assert row("Accuracy", "style, a draw (low is good)") == [*style, "10.3%", "54.0% ± 1.1%", none]
    assert row("Accuracy", "style, loc and scale")[0] == "76.0% ± 1.1%"
    shows = "How often a swap shows the label"
    assert row(shows, "content donor, content of 10 observations") == ["97.0% ± 1.9%"] * 2
    assert (
        row(shows, "content donor, content of 1 observation, style set to zero")[0]
        == "88.0% ± 1.6%"
    )
    assert (f"{shows} of the", "style donor, content of 10 observations") not in rows
    assert row("How much", "style kept, content of 1 observation") == ["0.940", "0.940"]
    assert row("Squared error of swaps", "content of 5 observations") == ["0.610", "0.610"]
    assert "a blank has 1, a copy of the style donor 0.860" in page.text
    assert row("The same for groups", "content of 1 observation") == ["0.590", "0.590"]
    assert row("The same for groups", "a copy of the style donor")[0] == "0.840"
    factors = ["0.700", "0.800", "0.000", "0.400", "0.800", "0.050"]
    assert row("R² of each factor, groups that training never", "turn, unseen groups") == factors
    assert row("Per observation", "ELBO") == ["\N{MINUS SIGN}15.50", "\N{MINUS SIGN}17.50"]
    assert row("Per observation", "minus divergence of content") == ["2.00", "2.00"]
    assert row("Scale of the posterior", "content of 2 observations") == ["0.490", "0.690", "0.390"]
    assert row("What intervals hold, product of", "content of 5 observations")[0] == "0.520"
    found = [f"{share}.0% ± 0.8%" for share in (63, 33, 43, 53)]
    found.insert(2, "20.0%")
    assert row("How often the right", "of 5, from 1 observation of each") == found
    assert "2.25 nats per group, and style by 3.50 nats per observation" in page.text
    assert "style has collapsed" in page.text
    known = set(numbers_in(full_metrics()))
    shown = [(float(attributes["value"]), text) for attributes, text in page.all("data")]
    assert len(shown) > 80
    for value, text in shown:
        assert value in known
        digits = float(text.strip("%").replace("\N{MINUS SIGN}", "-"))
        assert digits == pytest.approx(100 * value if text.endswith("%") else value, abs=0.051)


def test_it_says_what_was_trained_on_what_and_how_long(make_run):
    config = RunConfig(epochs=5, likelihood="bernoulli", style_given_content=True)
    page = read(make_run(config=config, scaling="range", uint8=True))
    facts = dict(zip([t for _, t in page.all("dt")], [t for _, t in page.all("dd")], strict=True))
    assert facts["Training"] == "18 steps in 2 epochs, 42 s"
    assert (
        facts["Data"] == "digits, 1 \N{MULTIPLICATION SIGN} 8 \N{MULTIPLICATION SIGN} 8 values each"
    )
    said = "mlvae, guide product-of-normals, style sees content, likelihood bernoulli"
    assert facts["Model"] == said
    assert facts["Networks see"] == "the range of x mapped to [0, 1], uint8 divided by 255"
    assert facts["Held out"] == "20% of every group"
    assert page.all("title")[0][1] == page.all("h1")[0][1] == "ML-VAE on digits"


def test_pseudo_nats_are_explained(make_run):
    metrics = bare_metrics()
    metrics["elbo"]["units"] = "pseudo-nats"
    assert "The numbers compare models of this one likelihood" in read(make_run(metrics)).text


def unknown_leaves():
    """Metrics of which any one part that may be null is null."""
    yield bare_metrics()
    for part in ("probe", "unseen", "swap", "factors", "diagnostics", "active_units"):
        yield {**full_metrics(), part: None}
    for part in full_metrics()["diagnostics"]:
        metrics = full_metrics()
        metrics["diagnostics"][part] = None
        yield metrics
    for part in ("probe", "swap", "unseen", "elbo", "factors"):
        metrics = full_metrics()
        metrics[part]["vae"] = None
        yield metrics
    metrics = full_metrics()
    metrics["swap"]["truth"] = metrics["swap"]["reader_accuracy"] = None
    metrics["evidence"]["vae"] = None
    metrics["factors"]["unseen"] = None
    yield metrics
    metrics = full_metrics() | {"probe": None}
    metrics["unseen"] |= {"ways": None, "chance": None, "shots": {"1": None, "5": None}}
    for control in ("vae", "untrained", "pixels"):
        metrics["unseen"][control] |= {"1": None, "5": None}
    yield metrics


@pytest.mark.parametrize("metrics", [*unknown_leaves()])
def test_what_is_null_is_left_out(make_run, metrics):
    page = read(make_run(metrics, figures=()))
    assert not re.search(
        r"\b(None|nan|null)\b|\{|\}", page.text.split("The same run again")[1].split("{")[0]
    )
    assert not re.search(r"\b(None|nan|null)\b", page.text)
    assert "\N{EN DASH}" not in "".join(text for _, text in page.all("p"))
    (lead,) = [text for attributes, text in page.all("p") if attributes.get("class") == "lead"]
    assert re.search(r"\d", lead)
    assert all(any(re.search(r"\d", cell) for cell in cells) for cells in page.rows().values())


def headline(metrics):
    good, bad = (text for _, text in Page(render("headline.html", m=metrics)).all("p"))
    return " ".join(good.split()), " ".join(bad.split())


def test_the_headline_says_what_is_good_and_what_is_not():
    good, bad = headline(full_metrics())
    assert good.startswith("Good: content tells the label.")
    assert bad.startswith("Not good: style still tells the label.")
    metrics = full_metrics()
    metrics["probe"]["style"]["draws"] = scores(0.11)  # chance is 0.103
    assert headline(metrics)[1].startswith("No weakness")
    metrics["probe"]["content"]["1"] = scores(0.92)  # as the untrained encoder's
    good, bad = headline(metrics)
    assert (
        "Given one observation of each of 5 groups, it finds the group of another with 63.0%"
        in good
    )
    assert "nearest pixels 43.0%" in good
    assert "no better than an untrained encoder (92.0% against 92.0%, chance 10.3%)" in bad


def test_the_headline_without_a_probe_is_of_unseen_groups():
    metrics = full_metrics() | {"probe": None}
    assert "it finds the group of another with 63.0%" in headline(metrics)[0]
    metrics["unseen"]["pixels"] |= shots(0.8)
    assert (
        "nearest pixels recognise unseen groups better than content (82.0% against 63.0%"
        in headline(metrics)[1]
    )
    metrics["unseen"]["pixels"] |= shots(0.1)
    metrics["unseen"]["untrained"] |= shots(0.7)
    good, bad = headline(metrics)
    assert (
        "ranks a pair of one group above a pair of two in 91.0% of cases (untrained encoder 56.0%"
        in good
    )
    assert (
        "unseen groups no better than an untrained encoder (63.0% against 72.0%, chance 20.0%)"
        in bad
    )


def test_the_headline_of_data_without_labels_is_the_fit():
    metrics = full_metrics() | {"probe": None, "unseen": None, "swap": None}
    elbo = metrics["elbo"]
    elbo |= {"per_observation": 19.0, "standard_error": 0.6}
    elbo["vae"] |= {"per_observation": 18.9, "standard_error": 0.4}
    assert headline(metrics)[0].startswith(
        "The ELBO per held-out observation is 19.00 nats (plain VAE 18.90)"
    )
    elbo["vae"]["per_observation"] = 17.0
    assert "fits held-out data better than a plain VAE" in headline(metrics)[0]
    elbo |= {"per_observation": -9.0}
    elbo["vae"] |= {"per_observation": -3.0}
    good, bad = headline(metrics)
    assert good.startswith("The ELBO per held-out observation is")
    assert (
        "plain VAE fits held-out data better. Its ELBO per observation is \N{MINUS SIGN}3.00" in bad
    )


def test_the_headline_of_a_probe_that_an_untrained_encoder_equals_is_what_swaps_show():
    metrics = full_metrics() | {"unseen": None}
    metrics["probe"]["content"]["1"] = metrics["probe"]["untrained"]["content"]["1"]
    swap = metrics["swap"] = json.loads(json.dumps(metrics["swap"]))  # no part is another
    swap["consistency"]["1"], swap["vae"]["consistency"]["1"] = 0.86, 0.76
    for part in (swap, swap["vae"]):
        part["standard_error"]["consistency"]["1"] = 0.015
    assert (
        "reads the content donor's label in 86.0% of swaps (standard error 1.5%; plain VAE 76.0%)"
        in headline(metrics)[0]
    )
    swap["vae"]["consistency"]["1"] = 0.84
    assert "swap" not in headline(metrics)[0]


def test_numbers_on_other_data_have_a_section(make_run):
    folder = make_run(figures=())
    other = {**bare_metrics(), "data": f"npz:{HOSTILE}"}
    runs.write_json(folder / "metrics-other.json", other)
    page = read(folder)
    assert f"On other data: npz:{HOSTILE}" in [text for _, text in page.all("h2")]
    assert "Fit to held-out data" in [text for _, text in page.all("h3")]


def test_the_same_files_give_the_same_page(make_run):
    folder = make_run()
    assert write_report(folder).read_bytes() == write_report(folder).read_bytes()


def test_the_page_needs_nothing_beside_it(make_run):
    html = write_report(make_run()).read_text("utf-8")
    for tag, attributes in Page(html).elements:
        assert tag not in ("script", "iframe", "object", "base")
        assert not [name for name in attributes if name.startswith("on")]
        for name in {"src", "href", "srcset", "action"} & set(attributes):
            assert attributes[name].startswith(("#", "data:")), attributes[name]
    assert not re.search(r"url\(|@import|https?:", html)


def test_the_page_is_sound_html_that_all_can_read(make_run):
    folder = make_run(figures=(*FIGURES, "mine"))
    runs.write_json(folder / "metrics-other.json", full_metrics())
    html = write_report(folder).read_text("utf-8")
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert page.all("html")[0][0]["lang"] == "en"
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in [
        a for a, _ in page.all("meta")
    ]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids)) > 8
    links = [attributes["href"] for attributes, _ in page.all("a")]
    assert sorted(links) == sorted(f"#{name}" for name in ids)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
    images = [attributes for attributes, _ in page.all("img")]
    assert len(images) == len(FIGURES) + 1 == len(page.all("figcaption"))
    assert all(image["alt"] and int(image["width"]) and int(image["height"]) for image in images)
    assert all(text for _, text in page.all("figcaption"))
    assert all(attributes.get("scope") in ("row", "col") for attributes, _ in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table")) > 8
    boxes = [attributes for attributes, _ in page.all("div") if attributes.get("class") == "scroll"]
    assert len(boxes) > len(page.all("table"))
    assert all(
        (box["tabindex"], box["role"]) == ("0", "region") and box["aria-label"] for box in boxes
    )


def test_what_comes_from_files_is_text_and_never_html(make_run):
    metrics = full_metrics() | {"data": HOSTILE, "warnings": [HOSTILE]}
    metrics["elbo"]["units"] = HOSTILE
    metrics["elbo"][f"kl_{HOSTILE}"] = 0.5
    config = RunConfig(
        data=f"folder:{HOSTILE}", data_root=HOSTILE, hold_out_groups=(HOSTILE, "\udc80")
    )
    folder = make_run(metrics, config, figures=(HOSTILE.replace("/", "-"),))
    html = write_report(folder).read_text("utf-8")
    page = Page(html)
    assert "<script" not in html
    assert not page.all("script")
    assert page.all("h1")[0][1] == f"ML-VAE on folder:{HOSTILE}"
    assert [text for _, text in page.all("li")].count(HOSTILE) == 1
    assert page.text.count("<script>alert(1)</script>") >= 6


@pytest.mark.parametrize(
    "config",
    [
        RunConfig(epochs=20),
        RunConfig(data="folder:/my drawings/it's", image_size=28, grayscale=True, epochs=7),
        RunConfig(hidden=(30, 20), hold_out_groups=("a b", "$HOME", "<script>"), epochs=3),
        RunConfig(model="vae", vae=False, learning_rate=1e-5, elbo="renyi", alpha=0.25),
    ],
)
def test_the_command_makes_the_run_again(make_run, config):
    folder = make_run(config=config)
    command = shlex.split(read(folder).all("code")[0][1])
    assert command[:2] == ["pyro-mlvae", "train"]
    again = parse(command[1:])
    assert (again.output.out, again.output.overwrite) == (folder, False)
    assert config_of(again) == config


def test_the_command_leaves_out_what_is_as_by_default(make_run):
    folder = make_run()
    assert (
        read(folder).all("code")[0][1]
        == f"pyro-mlvae train --data digits --out {folder} --epochs 2"
    )


def test_the_command_names_the_runs_own_copy_of_a_class(make_run, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("class Mine: ...\n")
    folder = make_run(config=RunConfig(model=f"{file}:Mine"))
    page = read(folder)
    assert page.all("h1")[0][1] == "Mine on digits"
    assert f"--model {folder}/code/model.py:Mine" in page.text


@pytest.mark.parametrize("name", [runs.CONFIG, runs.METRICS])
def test_a_missing_file_is_named(make_run, name):
    folder = make_run()
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"^[^\n]*{name} is missing[:;] [^\n]+$"):
        write_report(folder)


@pytest.mark.parametrize("name", [runs.CONFIG, runs.METRICS, "metrics-other.json"])
@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"format_version": 1', "null", "{}", '{"format_version": 9}', "\xff", "[" * 10**5],
)
def test_a_damaged_file_is_refused_with_a_sentence_and_the_page_that_was_there_stays(
    make_run, name, text
):
    folder = make_run(figures=())
    before = write_report(folder).read_bytes()
    (folder / name).write_text(text, "latin-1")
    with pytest.raises(InputError, match=rf"^[^\n]*{name}:? [^\n]+$"):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == before
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("place", ["elbo", "probe", "swap", "evidence", "seconds"])
def test_metrics_of_another_shape_are_refused(make_run, place):
    with pytest.raises(InputError, match=r"metrics.json is damaged"):
        write_report(make_run(full_metrics() | {place: "strange"}))


def test_a_damaged_history_or_figure_is_refused(make_run):
    folder = make_run()
    (folder / runs.HISTORY).write_text("epoch,seconds\n1,long\n")
    with pytest.raises(InputError, match=r"history.csv is damaged"):
        write_report(folder)
    (folder / runs.HISTORY).unlink()
    assert "epochs," not in read(folder).text
    (folder / runs.FIGURES / "swap.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"swap.png is damaged"):
        write_report(folder)


def test_a_large_figure_is_packed_without_loss(make_run):
    figure = make_run() / runs.FIGURES / "swap.png"
    noise = torch.randint(256, (200, 250, 3), dtype=torch.uint8).numpy()
    Image.fromarray(noise).save(figure)
    sources = [image["src"] for image, _ in read(figure.parent.parent).all("img")]
    (packed,) = (source for source in sources if not source.startswith("data:image/png"))
    shown = Image.open(BytesIO(b64decode(packed.removeprefix("data:image/webp;base64,"))))
    assert (np.asarray(shown) == noise).all()
    figure.write_bytes(figure.read_bytes()[:120_000])
    with pytest.raises(InputError, match=r"swap.png is damaged"):
        write_report(figure.parent.parent)


def test_a_page_that_cannot_be_written_leaves_the_old_one(make_run, monkeypatch):
    folder = make_run()
    before = write_report(folder).read_bytes()
    runs.write_json(folder / runs.METRICS, bare_metrics())

    def full(_):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="cannot be written"):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == before
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("unseen", [False, True])
def test_what_evaluate_measures_is_shown(make_run, unseen, quick_evaluation):
    config = RunConfig(hidden=(8,), content_dim=2, style_dim=2)
    x = torch.randn(120, 5, generator=torch.Generator().manual_seed(0))
    data = GroupedDataset.from_arrays(x, torch.arange(120) % 6)
    train, test = data.split_groups(0.5, seed=0) if unseen else data.split(0.5, seed=0)
    pair, vae = config.build((5,)), config.plain_vae().build((5,))
    metrics = evaluate(*pair, pair[1], train, test, vae=vae, data_name="random")
    page = read(make_run(metrics))
    headings = ["What the codes tell", "Groups never seen in training"]
    titles = [text for _, text in page.all("h2")]
    assert [heading in titles for heading in headings] == [not unseen, unseen]
    for title in (
        "Evidence adds up",
        "Fit to held-out data",
        "Can the posterior be trusted?",
        "Dimensions in use",
    ):
        assert title in titles
    assert len(page.rows()["Per observation, unless it says otherwise", "ELBO"]) == 2
    shown = {attributes["value"] for attributes, _ in page.all("data")}
    wanted = metrics["unseen"]["shots"] if unseen else metrics["probe"]["content"]
    assert all(repr(score["accuracy"]) in shown for score in wanted.values() if score)


def test_a_browser_draws_the_page(make_run, browse, tmp_path):
    picture = tmp_path / "page.png"
    browse(write_report(make_run()), f"--screenshot={picture}", "--window-size=1200,2600")
    colours = Image.open(picture).convert("RGB").getcolors(10**6)
    area = {colour: count for count, colour in colours}
    assert area[255, 255, 255] > 10**6
    assert area[0, 114, 178] > 10**5  # the figures are there
    assert len(area) > 100  # and so is text


def test_a_browser_has_nothing_to_complain_of(make_run, browse):
    folder = make_run()
    log = ("--enable-logging=stderr", "--v=0", "--dump-dom")
    page = write_report(folder)
    done = browse(page, *log)
    assert "ML-VAE on digits" in done.stdout
    assert "CONSOLE" not in done.stderr
    # The page forbids what it does not need, so that what slipped in would be neither run nor
    # fetched.
    bad = folder / "bad.html"
    bad.write_text(
        page.read_text("utf-8").replace(
            "<main>", '<main><img src="http://a.example/b.png"><script>1</script>'
        )
    )
    assert browse(bad, *log).stderr.count("Content Security Policy") >= 2


LAYOUT = """view => {
    const page = view.document.documentElement, all = page.querySelectorAll.bind(page);
    for (const details of all("details")) details.open = true;
    const fetched = view.performance.getEntriesByType("resource").map(entry => entry.name);
    const tops = cell => [...cell.getClientRects()].map(line => Math.round(line.top));
    const lines = cell => new Set(tops(cell)).size;
    const below = error => error.offsetTop > error.parentElement.firstChild.offsetTop + 5;
    return {
        outside: fetched.filter(name => !name.startsWith("data:")),
        stacked: [...all(".error")].filter(below).length,
        wrapped: [...all("td *")].filter(cell => lines(cell) > 1).length,
        boxes: all(".scroll").length,
        scrolled: [...all(".scroll")].filter(box => box.scrollWidth > box.clientWidth).length,
        inner: view.innerWidth, width: page.scrollWidth};
}"""


@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_is_no_wider_than_its_window_and_fetches_nothing(make_run, in_browser, width):
    config = RunConfig(data="folder:" + "x" * 200, hold_out_groups=("g" * 150,))
    folder = make_run(config=config, figures=("training", "swap", "swap-vae", "evidence"))
    [found] = in_browser([write_report(folder).read_text("utf-8")], LAYOUT, width)
    assert found["inner"] == found["width"] == width
    assert found["outside"] == []
    # A number and its error stand on one line, or in one column where there is no room for that.
    assert found["wrapped"] == 0
    assert (found["stacked"] > 0) == (width == 360)
    assert (found["scrolled"] > 0) == (width == 360)
    assert found["boxes"] > 8
