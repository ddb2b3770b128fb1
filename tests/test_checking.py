"""``check`` names every fault of a broken pair, finds none in a sound one, and changes nothing."""

import re
from contextlib import nullcontext
from itertools import permutations

import pyro
import pyro.distributions as dist
import pytest
import torch
from fitting import make_pair, small_data
from normals import posterior_of, said_of
from pyro import poutine
from pyro.nn import PyroModule, PyroParam
from torch import nn

from pyro_mlvae import (
    MLVAE,
    VAE,
    ConvDecoder,
    ConvEncoder,
    GroupedBatch,
    InputError,
    MLPDecoder,
    MLPEncoder,
    NormalLikelihood,
    ProductOfNormals,
    StyleGivenContent,
    VAEGuide,
    make_likelihood,
)
from pyro_mlvae.checking import PairError, check
from pyro_mlvae.guides import ThreeLevelGuide
from pyro_mlvae.likelihoods import LIKELIHOODS
from pyro_mlvae.models import MixturePriorMLVAE, ThreeLevelMLVAE
from pyro_mlvae.solved import (
    LinearEncoder,
    LinearGaussian,
    LinearGaussianGuide,
    LinearGaussianModel,
)

BATCH = GroupedBatch(small_data().batch().x[:8], torch.tensor([0, 1, 2, 3, 0, 0, 2, 0]), 4)
GROUPS, N, DIM = BATCH.num_groups, len(BATCH), 2


def faults(model, guide, batch=BATCH):
    with pytest.raises(PairError) as raised:
        check(model, guide, batch)
    assert str(raised.value) == "\n".join(raised.value.faults)
    assert not any("\n" in fault for fault in raised.value.faults)
    return raised.value.faults


def open_plates(num_groups=GROUPS, num_observations=N, **subsampling):
    return {
        "none": nullcontext(),
        "groups": pyro.plate("groups", num_groups),
        "observations": pyro.plate("observations", num_observations, **subsampling),
    }


def tell(
    model,
    batch,
    *,
    own_content=lambda content, batch: content.index_select(-2, batch.group),
    own_style=lambda style: style,
    likelihood=lambda x: x,
    obs=lambda x: x,
    extra=lambda plates: None,
    **sizes,
):
    """The story of the Multi-Level VAE, in which something may be told wrongly."""
    plates = open_plates(**sizes)
    with plates["groups"]:
        content = pyro.sample("content", model.content_prior(batch.groups))
    with plates["observations"]:
        style = pyro.sample("style", model.style_prior(batch.groups))
        x = model.observation(own_content(content, batch), own_style(style))
        pyro.sample("x", likelihood(x), obs=obs(batch.x))
    extra(plates)


def infer(
    guide,
    batch,
    *,
    content=lambda posterior, x: posterior,
    style=lambda posterior, x: posterior,
    content_plate="groups",
    style_plate="observations",
    event=1,
    scale=1.0,
    extra=lambda plates: None,
    **sizes,
):
    """The guide of the Multi-Level VAE, likewise."""
    plates = open_plates(**sizes)
    _, style_normal = said_of(guide, batch.x)
    with plates[content_plate]:
        posterior = content(posterior_of(guide, batch), batch.x)
        pyro.sample("content", posterior.to_event(event))
    with plates[style_plate], poutine.scale(scale=scale):
        pyro.sample("style", style(style_normal, batch.x).to_event(1))
    extra(plates)


def told(**wrong):
    model, guide = make_pair()
    model.forward = lambda batch: tell(model, batch, **wrong)
    return model, guide


def inferred(**wrong):
    model, guide = make_pair()
    guide.forward = lambda batch: infer(guide, batch, **wrong)
    return model, guide


def standard(count):
    return lambda posterior, x: dist.Normal(torch.zeros(count, DIM), 1.0)


def shifted(by):
    return lambda posterior, x: dist.Normal(posterior.loc + by(x), posterior.scale)


def extra_site(name, plate="observations", **options):
    def sample(plates):
        with plates[plate]:
            pyro.sample(name, dist.Normal(torch.zeros(N, 5), 1.0).to_event(1), **options)

    return sample


def changed(change):
    """A sound pair after ``change(model, guide)``, which may return another one."""
    pair = make_pair()
    return change(*pair) or pair


def fail(*args):
    raise RuntimeError("no such thing\nand more")


def hooked(kind, how):
    """A pair whose encoder or decoder gives ``how(output)`` at its last layer."""
    model, guide = make_pair()
    network = model.decoder if kind == "model" else guide.encoder
    network.layers.register_forward_hook(lambda module, inputs, output: how(output))
    return model, guide


def detached():
    model, guide = make_pair()
    guide.encoder = LinearEncoder(5, DIM, DIM)
    guide.encoder.content.register_forward_hook(lambda module, inputs, output: output.detach())
    return model, guide


class Nameless(PyroModule):
    """Moves the style of a program by a parameter ``net`` of no other name."""

    def __init__(self, run, net):
        super().__init__()
        self.run, self.net = run, net

    def forward(self, batch):
        self.run(batch, self.net(torch.ones(DIM)) if isinstance(self.net, nn.Module) else self.net)


def colliding(make_net):
    model, guide = make_pair()
    return (
        Nameless(
            lambda batch, net: tell(model, batch, own_style=lambda style: style + net), make_net()
        ),
        Nameless(lambda batch, net: infer(guide, batch, style=shifted(lambda x: net)), make_net()),
    )


class Unregistered(nn.Module):
    """A guide that is no PyroModule."""

    def __init__(self):
        super().__init__()
        self.encoder = MLPEncoder((5,), DIM, DIM, (8,))
        for name in ("encode", "split", "content_posterior"):
            setattr(self, name, getattr(ProductOfNormals(self.encoder), name))

    def forward(self, batch):
        infer(self, batch)


OTHERS = "must not depend on others, but moves with"
BROKEN = {
    "guide site unknown": (
        lambda: inferred(extra=extra_site("z")),
        "the guide's site 'z' must be in the model, got only 'content', 'style' and 'x'",
    ),
    "model latent not in guide": (
        lambda: told(extra=extra_site("z")),
        "the model's site 'z' must be in the guide, got only 'content' and 'style'",
    ),
    "guide draws x": (
        lambda: inferred(extra=extra_site("x")),
        "the guide's site 'x' must be latent, got one that the model observes",
    ),
    "no plate": (
        lambda: inferred(style_plate="none"),
        "the guide's site 'style' must stand in the plate 'observations', got no plate",
    ),
    "no plate, of a site of any name": (
        lambda: told(extra=extra_site("y", "none", obs=torch.zeros(N, 5))),
        "the model's site 'y' must stand in one of the plates 'observations', 'groups' and",
    ),
    "content in observations": (
        lambda: inferred(content_plate="observations", content=standard(N)),
        "the guide's site 'content' must stand in the plate 'groups', got 'observations'",
    ),
    "style in groups": (
        lambda: inferred(style_plate="groups", style=standard(GROUPS)),
        "the guide's site 'style' must stand in the plate 'observations', got 'groups'",
    ),
    "plate of the wrong size": (
        lambda: inferred(num_groups=N, content=standard(N)),
        f"the guide's plate 'groups' must be of size {GROUPS}, got {N}",
    ),
    "plate that subsamples": (
        lambda: told(num_observations=1000, subsample_size=N),
        f"the model's plate 'observations' must be of all its members, got a subsample of {N} "
        "of 1000",
    ),
    "other content_dim": (
        lambda: (make_pair()[0], ProductOfNormals(MLPEncoder((5,), 3, DIM, (8,)))),
        "the site 'content' must have one event shape in model and guide, got [2] in the model",
    ),
    "other observations": (
        lambda: (make_pair((4,))[0], make_pair()[1]),
        "the model raises InputError: x must hold observations of shape [4]",
    ),
    "distribution that x broadcasts against": (
        lambda: told(likelihood=lambda x: dist.Normal(x.mean[:, :1], 1.0).to_event(1)),
        f"the model's site 'x' must be of the shape that it observes, [{N}, 5], got [{N}, 1]",
    ),
    "no to_event": (
        lambda: inferred(event=0),
        "the guide raises ValueError: Shape mismatch inside plate('groups') at site content "
        ".*: declare",
    ),
    "content of the whole batch": (
        lambda: inferred(content=shifted(lambda x: x.sum())),
        f"the guide's site 'content' of one group {OTHERS} x of other members",
    ),
    "style of the whole batch": (
        lambda: inferred(style=shifted(lambda x: x.amax())),
        f"the guide's site 'style' of one observation {OTHERS} x of other members",
    ),
    "style of the neighbour": (
        lambda: inferred(style=shifted(lambda x: x.roll(7, 0)[:, :1])),
        f"the guide's site 'style' of one observation {OTHERS} x of other members",
    ),
    "batch norm in the encoder": (
        lambda: changed(
            lambda model, guide: guide.encoder.layers.insert(1, nn.BatchNorm1d(8)) and None
        ),
        f"the guide's site 'content' of one group {OTHERS}",
        f"the guide's site 'style' .* {OTHERS}",
    ),
    "batch norm in the decoder": (
        lambda: changed(
            lambda model, guide: model.decoder.layers.insert(1, nn.BatchNorm1d(8)) and None
        ),
        f"the model's site 'x' of one observation {OTHERS} 'content' and 'style' of other members",
    ),
    "content of another group": (
        lambda: told(own_content=lambda content, batch: content[(batch.group + 1) % GROUPS]),
        f"the model's site 'x' of one observation {OTHERS} 'content' of other members",
    ),
    "style of another observation": (
        lambda: told(own_style=lambda style: style.flip(0)),
        f"the model's site 'x' of one observation {OTHERS} 'style' of other members",
    ),
    "detached loc": (
        detached,
        "the guide's parameter 'encoder.content.weight' and 'encoder.content.bias' .* no gradient",
    ),
    "unused layer": (
        lambda: changed(lambda model, guide: setattr(model, "spare", nn.Linear(2, 2, bias=False))),
        "the model's parameter 'spare.weight' would never be trained, as no gradient reaches it",
    ),
    "unused pyro.param": (
        lambda: inferred(extra=lambda plates: pyro.param("w", torch.zeros(2))),
        "the store's parameter 'w' would never be trained, as no gradient reaches it",
    ),
    "colliding layers": (
        lambda: colliding(lambda: nn.Linear(DIM, DIM)),
        "the model's parameter 'net.weight' and 'net.bias' would never be trained, as .* of "
        "one name",
    ),
    "colliding PyroParams": (
        lambda: colliding(lambda: PyroParam(torch.ones(DIM), dist.constraints.positive)),
        "the model's parameter 'net' would never be trained, as .* of one name",
    ),
    "no PyroModule": (
        lambda: (make_pair()[0], Unregistered()),
        "the guide's parameter 'encoder.layers.0.weight', .* would never .* does not know of it",
    ),
    "scale on the model": (
        lambda: changed(lambda model, guide: (poutine.scale(model, scale=0.25), guide)),
        "all sites must have one scale, got 1 at the guide's 'content', the guide's 'style'; "
        "0.25 at the model's 'content', the model's 'style', the model's 'x'",
    ),
    "scale on one site": (
        lambda: inferred(scale=torch.tensor(2.0)),
        "all sites must have one scale, got 1 at the guide's 'content', .*; 2 at the guide's "
        "'style'",
    ),
    "scale from member to member": (
        lambda: inferred(scale=torch.arange(1.0, N + 1)),
        f"all sites must have one scale, got .*; 1 to {N} at the guide's 'style'",
    ),
    "NaN from the decoder": (
        lambda: hooked("model", lambda output: output * torch.nan),
        "the model's log density must be finite, got NaN or infinity at 'x'",
    ),
    "NaN from the encoder": (
        lambda: hooked("guide", lambda output: output * torch.nan),
        "the guide's log density must be finite, got NaN or infinity at 'content' and 'style'",
    ),
    "negative scale": (
        lambda: inferred(style=lambda posterior, x: dist.Normal(posterior.loc, -posterior.scale)),
        "the guide's log density must be finite, got NaN or infinity at 'style'",
    ),
    "infinite gradient": (
        lambda: hooked("model", lambda output: output + (output * 0).sqrt()),
        "the guide's parameter .* finite gradient",
        "the model's parameter 'decoder.layers.0.weight'.* finite",
    ),
    "nothing observed": (
        lambda: told(obs=lambda x: None),
        "the model must observe batch.x, got no observed site: pass obs=batch.x where 'x' is "
        "sampled",
    ),
    "something else observed": (
        lambda: told(obs=lambda x: x * 2),
        "the model must observe batch.x, got something else in 'x': pass obs=batch.x",
    ),
    "model raises": (
        lambda: changed(lambda model, guide: setattr(model, "forward", fail)),
        "the model raises RuntimeError: no such thing",
    ),
    "guide raises": (
        lambda: hooked("guide", lambda output: output @ torch.zeros(3, 3)),
        "the guide raises RuntimeError: mat1 and mat2 shapes cannot be multiplied (8x8 and 3x3)",
    ),
}


def matches(sentence, fault):
    """Whether the fault begins as the sentence does, in which only ``.*`` is a pattern."""
    return re.match(".*".join(map(re.escape, sentence.split(".*"))), fault)


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_pair_is_told_what_is_wrong_and_nothing_else(case):
    make, *sentences = BROKEN[case]
    found = faults(*make())
    assert len(found) == len(sentences), found
    for sentence, fault in zip(sentences, found, strict=True):
        assert matches(sentence, fault), fault


def test_several_faults_are_found_in_one_go():
    model, guide = inferred(content=shifted(lambda x: x.sum()), scale=2.0)
    model.spare = nn.Linear(2, 2)
    model.decoder.layers.insert(1, nn.BatchNorm1d(8))
    found = faults(model, guide)
    expected = ["one scale", "'spare.weight'", "guide's site 'content'", "model's site 'x'"]
    assert len(found) == len(expected)
    assert all(part in fault for part, fault in zip(expected, found, strict=True))


def test_both_programs_are_told_why_they_raise():
    model, guide = make_pair()
    model.forward = guide.forward = fail
    assert [fault[:16] for fault in faults(model, guide)] == [
        "the guide raises",
        "the model raises",
    ]


def test_no_two_groups_are_so_placed_that_a_leak_between_them_is_missed():
    count = 3
    x = torch.rand(2 * count, 5, generator=torch.Generator().manual_seed(0))
    batch = GroupedBatch(x, torch.arange(2 * count) % count, count)
    for giver, taker in permutations(range(count), 2):

        def leak(posterior, x, giver=giver, taker=taker):
            moved = posterior.loc.clone()
            moved[taker] = moved[taker] + x[giver, 0]
            return dist.Normal(moved, posterior.scale)

        pair = inferred(content=leak, num_groups=count, num_observations=2 * count)
        assert "'content' of one group" in faults(*pair, batch)[0]


def test_no_to_event_is_found_where_the_sizes_agree_by_chance():
    batch = GroupedBatch(torch.rand(N, 5), torch.arange(N) % DIM, DIM)
    pair = inferred(event=0, num_groups=DIM)
    (fault,) = [fault for fault in faults(*pair, batch) if "event shape" not in fault]
    assert (
        "the guide's site 'content' must have one batch dimension for each of its plates" in fault
    )
    assert ".to_event" in fault


def three_levels(level_of_x=lambda content, above: content):
    """A model of super-groups, and its guide, with neither of them a module."""

    def model(batch):
        with pyro.plate("super-groups", batch.num_parents):
            above = pyro.sample("super_content", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
        with pyro.plate("groups", batch.num_groups):
            own = above.index_select(-2, batch.parent)
            content = pyro.sample("content", dist.Normal(level_of_x(own, above), 1.0).to_event(1))
        with pyro.plate("observations", len(batch)):
            style = pyro.sample("style", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
            loc = torch.cat([content.index_select(-2, batch.group), style, style[:, :1]], -1)
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=batch.x)

    def guide(batch):
        scale = pyro.param("scale", torch.ones(()))
        mean = torch.zeros(batch.num_groups, 5).index_add(0, batch.group, batch.x)[:, :DIM]
        mean_above = torch.zeros(batch.num_parents, DIM).index_add(0, batch.parent, mean)
        with pyro.plate("super-groups", batch.num_parents):
            above = pyro.sample("super_content", dist.Normal(mean_above, scale).to_event(1))
        with pyro.plate("groups", batch.num_groups):
            loc = mean + above.index_select(-2, batch.parent)
            content = pyro.sample("content", dist.Normal(loc, scale).to_event(1))
        with pyro.plate("observations", len(batch)):
            loc = batch.x[:, :DIM] + content.index_select(-2, batch.group)
            pyro.sample("style", dist.Normal(loc, scale).to_event(1))

    return model, guide


DEEP = GroupedBatch(BATCH.x, BATCH.group, GROUPS, torch.tensor([0, 0, 1, 2]), 3)


def test_sound_pairs_of_three_levels_pass():
    check(*three_levels(), DEEP)
    model, guide = make_pair()
    check(
        ThreeLevelMLVAE(model.decoder, NormalLikelihood(), DIM, DIM),
        ThreeLevelGuide(guide.encoder),
        DEEP,
    )


def test_a_leak_between_super_groups_is_found():
    (fault,) = faults(*three_levels(lambda own, above: own + above.mean(0)), DEEP)
    assert matches(
        f"the model's site 'content' of one group {OTHERS} 'super_content' of other", fault
    )


def mlp_pair(likelihood=None, **options):
    model, guide = make_pair(likelihood=likelihood)
    return model, ProductOfNormals(guide.encoder, **options)


SOUND = {
    "product": lambda: mlp_pair(),
    "prior expert": lambda: mlp_pair(prior_expert=True),
    "style given content": lambda: mlp_pair(style_given_content=StyleGivenContent(DIM, DIM, (8,))),
    "both": lambda: mlp_pair(
        prior_expert=True, style_given_content=StyleGivenContent(DIM, DIM, (8,))
    ),
    "vae": lambda: (
        VAE(MLPDecoder((5,), DIM, DIM, hidden=(8,)), NormalLikelihood(), DIM, DIM),
        VAEGuide(MLPEncoder((5,), DIM, DIM, (8,))),
    ),
    "mixture prior": lambda: (
        MixturePriorMLVAE(make_pair()[0].decoder, NormalLikelihood(), DIM, DIM),
        mlp_pair()[1],
    ),
    "both scaled": lambda: [poutine.scale(program, scale=0.5) for program in make_pair()],
    "masked": lambda: [poutine.mask(program, mask=torch.tensor(True)) for program in make_pair()],
    "methods": lambda: [program.forward for program in make_pair()],
    "dropout": lambda: changed(
        lambda model, guide: guide.encoder.layers.insert(1, nn.Dropout(0.5)) and None
    ),
    "frozen": lambda: changed(lambda model, guide: model.decoder.requires_grad_(False) and None),
    "batch norm in evaluation": lambda: changed(
        lambda model, guide: guide.encoder.layers.insert(1, nn.BatchNorm1d(8).eval()) and None
    ),
    "zero-initialised": lambda: changed(
        lambda model, guide: [nn.init.zeros_(p) for p in model.parameters()] and None
    ),
    "auxiliary site": lambda: inferred(extra=extra_site("z", infer={"is_auxiliary": True})),
}


@pytest.mark.parametrize("case", SOUND)
def test_a_sound_pair_passes(case):
    check(*SOUND[case](), BATCH)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_every_likelihood_passes(likelihood):
    check(*mlp_pair(make_likelihood(likelihood)), BATCH)


@pytest.mark.parametrize("solved", [LinearGaussian.orthogonal(), LinearGaussian.correlated()])
def test_the_solved_model_passes(solved):
    batch = solved.sample(torch.tensor([1, 3, 2]))
    dim, content_dim = solved.content_loading.shape
    random = LinearGaussianGuide(dim, content_dim, solved.style_loading.shape[1]).double()
    for guide in (LinearGaussianGuide.exact(solved), random):
        check(LinearGaussianModel(solved), guide, batch)


def test_convolutions_pass():
    shape = (1, 8, 8)
    model = MLVAE(
        ConvDecoder(shape, DIM, DIM, channels=(4,), hidden=(8,)), NormalLikelihood(), DIM, DIM
    )
    guide = ProductOfNormals(ConvEncoder(shape, DIM, DIM, channels=(4,), hidden=(8,)))
    check(model, guide, GroupedBatch(torch.rand(5, *shape), torch.tensor([0, 2, 1, 0, 2]), 3))


@pytest.mark.parametrize(
    "group", [torch.arange(6), torch.zeros(6, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)]
)
def test_groups_of_one_and_a_single_group_pass(group):
    check(*make_pair(), GroupedBatch(torch.rand(len(group), 5), group, int(group.max()) + 1))


def everything(*modules):
    """What ``check`` must leave as it was, in the modules and around them."""
    tensors = [
        t for module in modules for part in (module.parameters(), module.buffers()) for t in part
    ]
    return {
        "randomness": torch.get_rng_state().tolist(),
        "store": {name: id(p) for name, p in pyro.get_param_store().named_parameters()},
        "settings": pyro.settings.get(),
        "handlers": list(pyro.poutine.runtime._PYRO_STACK),
        "identities": [id(t) for t in tensors],
        "values": [t.tolist() for t in tensors],
        "gradients": [None if t.grad is None else (id(t.grad), t.grad.tolist()) for t in tensors],
        "frozen": [t.requires_grad for t in tensors],
        "modes": [part.training for module in modules for part in module.modules()],
        "gradient mode": torch.is_grad_enabled(),
    }


@pytest.mark.parametrize("collide", [True, False])
@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_of_the_callers_is_changed(collide, enabled):
    model, guide = colliding(lambda: PyroParam(torch.ones(DIM))) if collide else make_pair()
    norms = nn.Sequential(nn.BatchNorm1d(8), nn.Dropout())
    if collide:
        guide.norms = norms.eval()
    else:
        guide.encoder.layers.insert(1, norms)
    pyro.param("mine", torch.ones(3))
    first, second, *_ = [*model.parameters(), *guide.parameters()]
    first.grad, second.requires_grad = torch.ones_like(first), False
    before = everything(model, guide)
    with torch.set_grad_enabled(enabled):
        found = faults(model, guide)
        assert torch.is_grad_enabled() == enabled
    assert found
    assert everything(model, guide) == before


def test_settings_of_the_callers_change_neither_the_verdict_nor_themselves():
    wrong = inferred(content=shifted(lambda x: x.sum()))
    expected = faults(*wrong)
    with pyro.settings.context(validate_infer=False, module_local_params=True), torch.no_grad():
        before = pyro.settings.get()
        check(*make_pair(), BATCH)
        assert faults(*wrong) == expected
        assert pyro.settings.get() == before


def test_parameters_of_the_same_names_in_the_callers_store_are_no_collision():
    for program in make_pair():
        program(BATCH)
    check(*make_pair(), BATCH)


def test_the_seed_fixes_the_draws():
    def noisy(posterior, x):
        seen.append(torch.rand(()).item())
        return posterior

    seen = []
    pair = inferred(style=noisy)
    for seed in (0, 0, 1):
        check(*pair, BATCH, seed=seed)
    runs = [seen[i * len(seen) // 3 : (i + 1) * len(seen) // 3] for i in range(3)]
    assert runs[0] == runs[1] != runs[2]


def test_a_fault_is_an_input_error():
    assert issubclass(PairError, InputError)


@pytest.mark.parametrize(
    ("batch", "seed", "sentence"),
    [
        (BATCH.x, 0, "batch must be a GroupedBatch, got Tensor: GroupedBatch"),
        (None, 0, "batch must be a GroupedBatch, got NoneType"),
        (BATCH, -1, "seed must be a whole number of at least 0, got -1"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(batch, seed, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)) as raised:
        # Without the types that are checked under pytest alone.
        getattr(check, "__wrapped__", check)(*make_pair(), batch, seed=seed)
    assert not isinstance(raised.value, PairError)


def test_a_batch_of_another_dtype_is_taken_as_fit_takes_it():
    model, guide = make_pair()
    check(model, guide, small_data().batch().to(dtype=torch.float64))
