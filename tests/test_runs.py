"""The run folder: written whole, opened exactly, refused where it is not right."""

import json

import pytest
import torch

from pyro_mlvae import InputError, runs
from pyro_mlvae.latents import encode
from pyro_mlvae.runs.config import RunConfig

EVENT_SHAPE = (1, 8, 8)
CONFIG = RunConfig(content_dim=3, style_dim=2, hidden=(7,), likelihood="normal-learned", seed=5)


@pytest.fixture
def folder(tmp_path):
    path = runs.prepare_run_folder(tmp_path / "run")
    runs.save_config(path, CONFIG, EVENT_SHAPE)
    runs.save_weights(path, *_perturbed())
    return path


def _perturbed():
    model, guide = CONFIG.build(EVENT_SHAPE)
    with torch.no_grad():
        for parameter in [*model.parameters(), *guide.parameters()]:
            parameter += 0.01 * torch.randn_like(parameter)
    return model, guide


def test_a_saved_run_gives_identical_outputs(folder):
    torch.manual_seed(1)
    model, guide = _perturbed()
    runs.save_weights(folder, model, guide)
    opened = runs.load_run(folder)
    x = torch.rand(9, *EVENT_SHAPE)
    codes, opened_codes = encode(guide, x), encode(opened.guide, x)
    assert torch.equal(codes.content.mean, opened_codes.content.mean)
    assert torch.equal(codes.style.stddev, opened_codes.style.stddev)
    content, style = torch.randn(9, 3), torch.randn(9, 2)
    expected, got = model.observation(content, style), opened.model.observation(content, style)
    assert torch.equal(expected.mean, got.mean)
    assert torch.equal(expected.stddev, got.stddev)


def test_the_initial_weights_follow_from_the_seed_alone():
    first, second = (RunConfig(seed=3).build(EVENT_SHAPE) for _ in range(2))
    other = RunConfig(seed=4).build(EVENT_SHAPE)
    for a, b, c in zip(first, second, other, strict=True):
        assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
        assert not all(
            torch.equal(p, q) for p, q in zip(a.parameters(), c.parameters(), strict=True)
        )


def test_the_callers_random_state_is_left_alone():
    before = torch.get_rng_state()
    RunConfig().build(EVENT_SHAPE)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", [runs.CONFIG, runs.WEIGHTS])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"{name} is missing"):
        runs.load_run(folder)


def test_weights_that_do_not_fit_the_config_are_refused(folder):
    settings = json.loads((folder / runs.CONFIG).read_text())
    (folder / runs.CONFIG).write_text(json.dumps(settings | {"content_dim": 4}))
    with pytest.raises(InputError, match=r"the model's weights .* do not fit config.json"):
        runs.load_run(folder)


def edit(folder, **changes):
    """config.json with some of its values changed, and without those that are None."""
    settings = json.loads((folder / runs.CONFIG).read_text()) | changes
    kept = {name: value for name, value in settings.items() if value is not None}
    (folder / runs.CONFIG).write_text(json.dumps(kept))


def refusal(folder):
    with pytest.raises(InputError) as refused:
        runs.load_run(folder)
    return str(refused.value)


def test_what_a_config_lacks_has_its_default(folder):
    lacks = ("precision", "hsic", "format_version", "trained_groups", "value_range")
    edit(folder, **dict.fromkeys(lacks))
    opened = runs.load_run(folder)
    assert opened.config == CONFIG
    assert (opened.trained_groups, opened.value_range, opened.data_digest) == ((), None, None)


@pytest.mark.parametrize("version", [1, 2])
def test_a_run_of_an_earlier_version_opens(folder, version):
    edit(folder, format_version=version, data_digest=None, trained_groups=None)
    assert runs.load_run(folder).config == CONFIG


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_no_damage(folder, encoding):
    text = (folder / runs.CONFIG).read_text()
    (folder / runs.CONFIG).write_text(text, encoding)
    assert runs.load_run(folder).config == CONFIG


def test_settings_that_are_not_known_are_named_with_the_nearest(folder):
    edit(folder, epoch=3)
    assert "does not know, 'epoch' (did you mean 'epochs'?): correct or remove" in refusal(folder)
    edit(folder, zzz=[1])
    assert "settings that this version of pyro_mlvae does not know, 'epoch' (" in refusal(folder)
    assert "?), 'zzz': correct or remove" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"epochs": "3"}, "epochs must be of type int | None, got '3'"),
        ({"hidden": 7}, "hidden must be of type tuple[int, ...], got 7"),
        ({"hold_out_groups": "ann"}, "hold_out_groups must be of type tuple[str, ...], got 'ann'"),
        ({"vae": 0}, "vae must be of type bool, got 0"),
        ({"model": ["mlvae"]}, "model must be of type str, got ['mlvae']"),
        ({"model": "mlvea"}, "unknown model 'mlvea': did you mean 'mlvae'?"),
        (
            {"event_shape": "1, 8"},
            "event_shape must be the shape of one observation, as [1, 28, 28]",
        ),
        (
            {"event_shape": [1, 8.5]},
            "side 1 of event_shape must be a positive whole number, got 8.5",
        ),
        ({"trained_groups": {"ann": 1}}, "trained_groups must be a list of names, got {'ann': 1}"),
        (
            {"value_range": [1.0, 0.0]},
            "value_range must be null or the least and the largest value",
        ),
        ({"data_digest": 5}, "data_digest must be null or text, got 5"),
        ({"format_version": "3"}, "format_version must be 3 or less, got '3'"),
    ],
)
@pytest.mark.usefixtures("types_unchecked")
def test_a_value_of_another_kind_is_named_with_its_key(folder, change, sentence):
    edit(folder, **change)
    assert refusal(folder).startswith(f"{folder / runs.CONFIG}: {sentence}")


def test_without_the_shape_of_an_observation_it_is_asked_for(folder):
    edit(folder, event_shape=None)
    assert "event_shape must be the shape of one observation, as [1, 28, 28], got None" in (
        refusal(folder)
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is no valid JSON at line 1, column 1 (Expecting value): correct it there"),
        ('{"format_version": 3,\n"data": "digits",\n}', "is no valid JSON at line 3, column 1"),
        ('{"format_version": 1', "is no valid JSON at line 1, column 21"),
        ("[]", "must hold settings by name, {...}, got []"),
        ("null", "must hold settings by name, {...}, got None"),
    ],
)
def test_a_config_that_is_no_json_says_where(folder, text, sentence):
    (folder / runs.CONFIG).write_text(text)
    assert sentence in refusal(folder)


def test_a_config_of_a_later_version_says_so(folder):
    edit(folder, format_version=99, brand_new=True)
    assert "has format_version 99, but this version of pyro_mlvae reads those up to 3" in refusal(
        folder
    )


def test_damaged_weights_are_refused(folder):
    (folder / runs.WEIGHTS).write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="damaged"):
        runs.load_run(folder)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="is not a run folder"):
        runs.prepare_run_folder(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_existing_run_is_replaced_only_when_told_to(folder):
    with pytest.raises(InputError, match=r"already holds a run.*--overwrite"):
        runs.prepare_run_folder(folder)
    assert (folder / runs.WEIGHTS).exists()
    (folder / "notes.txt").write_text("mine")
    runs.prepare_run_folder(folder, overwrite=True)
    assert [file.name for file in folder.iterdir()] == ["notes.txt"]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(InputError, match="is a file"):
        runs.prepare_run_folder(tmp_path / "run")


def test_a_folder_that_cannot_be_written_is_refused():
    # Nobody, root included, can write to /proc.
    with pytest.raises(InputError, match="cannot be written"):
        runs.prepare_run_folder("/proc/run")


def test_json_never_holds_what_json_cannot_say(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        runs.write_json(tmp_path / "metrics.json", {"elbo": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"content_dim": 0}, "content_dim must be a positive whole number, got 0"),
        ({"style_dim": -1}, "style_dim must be a positive whole number, got -1"),
        ({"epochs": 0}, "epochs must be"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate must be positive"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"model": "mlvea"}, "unknown model 'mlvea': did you mean 'mlvae'"),
        ({"guide": "product"}, "unknown guide"),
        ({"likelihood": "binomial"}, "unknown likelihood"),
        ({"elbo": "tracee"}, "did you mean 'trace'"),
        ({"sampler": "group"}, "did you mean 'groups'"),
    ],
)
def test_a_setting_out_of_range_is_named(setting, sentence):
    with pytest.raises(InputError, match=sentence):
        RunConfig(**setting)
