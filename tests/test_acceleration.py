"""Training in bfloat16 and with compiled networks: near float32, and all as it was after."""

import contextlib
import shutil
from unittest import mock

import pytest
import torch
from fitting import fit_small, make_pair, small_data
from normals import said_of

from pyro_mlvae import GroupSampler, InputError, fit
from pyro_mlvae.cli.main import run
from pyro_mlvae.likelihoods import LearnedNormalLikelihood
from pyro_mlvae.training import acceleration, elbo_terms
from pyro_mlvae.training.acceleration import in_precision

CPU = torch.device("cpu")
has_bfloat16 = pytest.mark.skipif(
    not acceleration._has_bfloat16(CPU), reason="this processor has no bfloat16"
)
has_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")


def dtypes_in(pair, **how):
    """Of what the first layer gives, and of what reaches the densities."""
    model, guide = pair
    seen = {}
    guide.encoder.layers[0].register_forward_hook(lambda *call: seen.update(inside=call[-1].dtype))
    with in_precision(model, guide, device=CPU, **how):
        features = guide.encode(torch.rand(3, 5))
        content, style = said_of(guide, torch.rand(3, 5))
        outputs = model.decoder(content.loc, style.loc)
    boundary = {features.dtype, content.loc.dtype, style.scale.dtype, *(o.dtype for o in outputs)}
    return seen["inside"], boundary


@has_bfloat16
def test_bfloat16_is_inside_the_networks_alone():
    inside, boundary = dtypes_in(make_pair(), precision="bf16")
    assert inside == torch.bfloat16
    assert boundary == {torch.float32}


def test_float32_is_left_as_it_is():
    model, guide = make_pair()
    with in_precision(model, guide, device=CPU, precision="float32"):
        assert "forward" not in vars(guide.encoder)


@has_bfloat16
def test_a_network_of_ones_own_that_gives_several_outputs_is_brought_back_to_float32():
    _, guide = make_pair()

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(5, 2)

        def forward(self, x):
            loc = self.layer(x)
            return loc.exp(), [loc, 3]

    guide.encoder = Own()
    with in_precision(guide, device=CPU, precision="bf16"):
        scale, (tensor, number) = guide.encoder(torch.rand(3, 5))
    assert {scale.dtype, tensor.dtype} == {torch.float32}
    assert number == 3


@has_bfloat16
def test_training_in_bfloat16_ends_where_float32_does():
    batch = small_data().batch()
    ends = {}
    for precision in ("float32", "bf16"):
        model, guide = make_pair(likelihood=LearnedNormalLikelihood())
        history = fit_small(model, guide, epochs=8, precision=precision)
        assert {p.dtype for p in guide.parameters()} == {torch.float32}
        ends[precision] = elbo_terms(model, guide, batch, num_particles=50).per_observation()[
            "elbo"
        ]
        assert len(history.epochs) == 8
    assert ends["bf16"] == pytest.approx(ends["float32"], abs=0.02)
    assert ends["bf16"] != ends["float32"]


@has_compiler
def test_compiled_steps_train_to_the_same_weights_under_the_same_names():
    plain, compiled = make_pair(), make_pair()
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for pair, options in ((plain, {}), (compiled, {"compile": True})):
        # One shape of minibatch: compiling takes seconds for each.
        history = fit(*pair, GroupSampler(small_data(), 4, 4), epochs=4, **options)
        assert history.eager is None
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > before
    for ours, theirs in zip(compiled, plain, strict=True):
        assert list(ours.state_dict()) == list(theirs.state_dict())
        for name, value in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], value, atol=1e-5, rtol=1e-5)


def test_networks_are_as_they_were_even_after_an_error():
    model, guide = make_pair()
    how = {"device": CPU, "precision": "bf16"}
    with contextlib.suppress(KeyError), in_precision(model, guide, **how):
        assert "forward" in vars(guide.encoder)
        raise KeyError
    assert "forward" not in vars(guide.encoder)


def test_a_network_that_model_and_guide_share_is_changed_once_and_keeps_a_forward_of_its_own():
    model, guide = make_pair()
    own = model.decoder.forward = model.decoder.forward
    guide.shared = model.decoder
    with in_precision(model, guide, device=CPU, precision="bf16"):
        assert model.decoder.forward is not own
    assert model.decoder.forward is own


def test_bfloat16_is_refused_where_the_device_has_none(capsys, tmp_path):
    with mock.patch.object(acceleration, "_has_bfloat16", return_value=False):
        with pytest.raises(
            InputError, match="needs bfloat16, which cpu does not have: use float32"
        ):
            fit_small(precision="bf16")
        assert run(["train", "--out", str(tmp_path / "run"), "--precision", "bf16"]) == 2
    assert "needs bfloat16, which cpu does not have" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_compiling_is_refused_without_a_compiler():
    with (
        mock.patch.object(acceleration, "_has_compiler", return_value=False),
        pytest.raises(InputError, match="needs a C\\+\\+ compiler"),
    ):
        fit_small(compile=True)


def test_without_a_compiler_none_is_found(monkeypatch):
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def none():
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    assert not acceleration._has_compiler(CPU)
    assert acceleration._has_compiler(torch.device("cuda"))


def test_an_unknown_precision_is_refused(capsys):
    with pytest.raises(InputError, match=r"unknown precision 'fp8': .*Known are float32, bf16"):
        fit_small(precision="fp8")
    assert run(["train", "--out", "run", "--precision", "bf1"]) == 2
    assert "did you mean 'bf16'?" in capsys.readouterr().err.splitlines()[-1]


def test_parts_of_a_minibatch_add_up_to_it():
    whole, parts = fit_small(epochs=1), fit_small(epochs=1, observations_at_once=3)
    assert parts.epochs[0].terms.observations == whole.epochs[0].terms.observations
    assert parts.epochs[0].terms.groups == whole.epochs[0].terms.groups
    # The draws differ; the first step's weights do not.
    assert parts.epochs[0].objective == pytest.approx(whole.epochs[0].objective, rel=0.2)


def test_a_device_that_is_not_here_is_refused(capsys):
    assert run(["train", "--out", "run", "--device", "cuda:7"]) == 2
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert "device 'cuda:7' is not here: choose auto or one of cpu" in sentence
