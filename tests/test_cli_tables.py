"""What a result ends with, and the tables that it stands in."""

import copy

import pytest
from test_report import full_metrics

from pyro_mlvae.cli.hints import hints
from pyro_mlvae.cli.main import run
from pyro_mlvae.cli.summary import summary
from pyro_mlvae.cli.tables import table


def metrics_of(style=0.1, style_untrained=0.1, content=0.9, content_untrained=0.5, error=0.02):
    """Metrics with these accuracies, chance 0.1, and nothing else that a hint is about."""
    metrics = {**copy.deepcopy(full_metrics()), "unseen": None}
    probe = metrics["probe"]
    probe["chance"] = 0.1
    for of, of_style, of_content in (
        (probe, style, content),
        (probe["untrained"], style_untrained, content_untrained),
    ):
        of["style"]["draws"] = {"accuracy": of_style, "standard_error": error}
        of["content"]["1"] = {"accuracy": of_content, "standard_error": error}
    return metrics


def test_style_that_tells_the_label_asks_for_hsic():
    assert hints(metrics_of(style=0.4)) == [
        "style still tells the label (0.400, chance 0.100): try --hsic 100"
    ]
    [hint] = hints(metrics_of(style=0.4), hsic=100.0)
    assert hint.endswith("try a smaller --style-dim")


@pytest.mark.parametrize(
    "metrics",
    [
        metrics_of(style=0.1),
        metrics_of(style=0.13),  # within two standard errors of chance
        metrics_of(style=0.4, style_untrained=0.4),
        metrics_of(style=0.4, style_untrained=0.36),  # within two of the control's and its own
        metrics_of(style=0.4, style_untrained=0.7),
    ],
)
def test_style_that_tells_no_more_than_its_controls_asks_for_nothing(metrics):
    assert hints(metrics) == []


def test_content_that_tells_no_more_than_an_untrained_networks_asks_for_training():
    [hint] = hints(metrics_of(content=0.5, content_untrained=0.49))
    assert hint.startswith(
        "content tells the label no better than an untrained network's (0.500 and 0.490)"
    )
    assert "--steps" in hint
    assert hints(metrics_of(content=0.96, content_untrained=0.95)) == []


def test_unseen_groups_told_apart_no_better_than_by_an_untrained_network_ask_for_training():
    metrics = {**full_metrics(), "probe": None}
    assert hints(metrics) == []
    metrics["unseen"]["untrained"]["1"]["accuracy"] = metrics["unseen"]["shots"]["1"]["accuracy"]
    [hint] = hints(metrics)
    assert "unseen groups apart no better" in hint


def test_convolutions_that_tell_unseen_groups_apart_badly_ask_for_a_pose():
    metrics = {**full_metrics(), "probe": None}
    metrics["unseen"]["shots"]["1"]["accuracy"] = 0.7
    metrics["unseen"]["untrained"]["1"]["accuracy"] = 0.3
    [hint] = hints(metrics, network="conv")
    assert "0.700" in hint
    assert "--preset unseen-images" in hint
    assert hints(metrics, network="posed") == []
    metrics["unseen"]["shots"]["1"]["accuracy"] = 0.95
    assert hints(metrics, network="conv") == []


def test_what_was_not_measured_asks_for_nothing():
    assert hints({**full_metrics(), "probe": None, "unseen": None}) == []
    metrics = metrics_of(style=0.4)
    del metrics["probe"]["style"]["draws"]
    metrics["probe"]["content"]["1"] = None
    assert hints(metrics) == []


@pytest.mark.parametrize("columns", [60, 100, 250])
def test_tables_are_plain_and_no_wider_than_the_terminal_or_100_columns(
    columns, monkeypatch, capsys
):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert run(["datasets"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    lines = out.splitlines()
    tables = "\n".join(line for line in lines if not line.endswith(":")).splitlines()
    assert max(map(len, tables)) <= min(columns, 100)
    assert max(map(len, tables)) > min(columns, 100) - 20


def test_a_summary_has_a_line_for_each_row_and_a_cell_for_each_column():
    said = summary(
        {
            "factors": None,
            **full_metrics(),
            "warnings": ["[bold]style[/bold] :smile: has collapsed"],
        }
    )
    [title] = (line for line in said.splitlines() if line.startswith("How well a probe"))
    assert title.split()[-6:] == ["trained", "VAE", "VAE,", "whole", "untrained", "chance"]
    [row] = (line for line in said.splitlines() if line.startswith("content of 1 observation "))
    cells = ["0.960", "±0.011", "0.940", "±0.011", "0.950", "±0.011", "0.920", "±0.011", "0.103"]
    assert row.split()[4:] == cells
    assert "content of 50" not in said
    assert max(map(len, said.splitlines())) <= 100
    assert said.endswith("warning: [bold]style[/bold] :smile: has collapsed")


def test_names_in_a_table_are_text_and_no_markup():
    assert (
        table(["name", "n"], [["[red]x[/red] :smile:", "1"]]).splitlines()[1]
        == "[red]x[/red] :smile:  1"
    )
