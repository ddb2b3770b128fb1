"""Posteriors as Normals, which the guides of these tests have."""

from pyro.distributions import Normal

from pyro_mlvae.ops import moments, normal_from_parameters


def as_normal(distribution):
    """A Normal of the same moments."""
    return Normal(*moments(distribution))


def said_of(guide, x):
    """``(content, style)``: what the encoder says of each observation, as Normals."""
    return tuple(normal_from_parameters(part) for part in guide.split(guide.encode(x)))


def normals(encoder, x):
    """``(content, style)``: what an encoder of ours says of each observation, as Normals."""
    features = encoder(x)
    style = features.shape[-1] - 2 * encoder.style_dim
    return tuple(
        normal_from_parameters(part) for part in (features[:, :style], features[:, style:])
    )


def posterior_of(guide, batch):
    """q(C_G | X_G) of every group, as a Normal."""
    return as_normal(guide.content_posterior(guide.encode(batch.x), batch.groups))


def codes_of(guide, batch):
    """``(content, style)`` of single observations, as Normals."""
    return tuple(as_normal(each) for each in guide.codes(guide.encode(batch.x), batch.groups))
