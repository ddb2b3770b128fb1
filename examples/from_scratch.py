"""The Multi-Level VAE in plain PyTorch, without this library: the whole method, from top to bottom.

Run: python examples/from_scratch.py

Trains on scikit-learn's 1,797 handwritten digits, in half a minute on one core. What the drawings
of a digit share is their content, what each adds is its style. Prints how well each tells the digit
of drawings that were held out, and writes swap.png: the content of a row, in the style of the
drawing above a column.
"""

import math
import sys

import torch
from matplotlib.image import imsave
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

CONTENT, STYLE, HIDDEN, PIXELS = 16, 4, 500, 64
LOG_SCALE_BOUND = 7.0


class MLVAE(nn.Module):
    """A group has one content, each of its observations one style, and the decoder gets both::

        C_G ~ N(0, I)    S_i ~ N(0, I)    x_i ~ N(loc(C_G, S_i), variance(C_G, S_i))
        q(C_G | X_G) ∝ prod_{i in G} N(C_G; loc_c(x_i), scale_c(x_i))    q(S_i | x_i) = N(loc_s,
        scale_s)

    The encoder maps ``[N, pixels]`` to ``[N, 2 * (content + style)]``, the decoder ``[N, content +
    style]`` to ``[N, 2 * pixels]``.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, content_dim: int, style_dim: int
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.sizes = [content_dim, content_dim, style_dim, style_dim]

    def infer(
        self, x: Tensor, group: Tensor, num_groups: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Loc and log scale of each group's content, then of each observation's style."""
        expert_loc, expert_raw, style_loc, style_raw = self.encoder(x.flatten(1)).split(
            self.sizes, -1
        )
        # The product of Normals is a Normal: precisions add, and locs are averaged by their
        # precisions.
        precision = torch.exp(-2.0 * bounded(expert_raw))
        zero = precision.new_zeros(num_groups, precision.shape[1])
        total = zero.index_add(0, group, precision)
        content_loc = zero.index_add(0, group, precision * expert_loc) / total
        return content_loc, -0.5 * total.log(), style_loc, bounded(style_raw)

    def decode(self, content: Tensor, style: Tensor) -> tuple[Tensor, Tensor]:
        """Loc and log variance of each pixel."""
        loc, raw = self.decoder(torch.cat([content, style], 1)).chunk(2, -1)
        return loc, torch.tanh(raw)

    def forward(
        self,
        x: Tensor,
        group: Tensor,
        num_groups: int,
        content_noise: Tensor | None = None,
        style_noise: Tensor | None = None,
    ) -> Tensor:
        """Minus the ELBO of a group, averaged over groups, by one draw: what is minimised."""
        content_loc, content_log_scale, style_loc, style_log_scale = self.infer(
            x, group, num_groups
        )
        content, content_kl = draw(content_loc, content_log_scale, content_noise)
        style, style_kl = draw(style_loc, style_log_scale, style_noise)
        loc, log_variance = self.decode(content.index_select(0, group), style)
        squares = (x.flatten(1) - loc).square() * torch.exp(-log_variance)
        log_density = -0.5 * (
            squares.sum() + log_variance.sum() + x.numel() * math.log(2.0 * math.pi)
        )
        return (content_kl + style_kl - log_density) / num_groups


def bounded(raw: Tensor) -> Tensor:
    """A log scale between -7 and 7."""
    return LOG_SCALE_BOUND * torch.tanh(raw / LOG_SCALE_BOUND)


def draw(loc: Tensor, log_scale: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """A draw of N(loc, scale), and log q - log p of it under the prior N(0, I), summed."""
    noise = torch.randn_like(loc) if noise is None else noise
    drawn = loc + log_scale.exp() * noise
    # The constants of both densities cancel.
    return drawn, (0.5 * (drawn.square() - noise.square()) - log_scale).sum()


def main() -> None:
    """Train, read the digit off both codes, and swap."""
    torch.manual_seed(0)
    digits = load_digits()
    # Pixels from 0 to 4, since their scale is learned between 0.6 and 1.65.
    x, digit = torch.tensor(digits.data / 4.0, dtype=torch.float32), torch.tensor(digits.target)
    test, train = torch.randperm(len(x)).split([360, len(x) - 360])

    encoder = nn.Sequential(
        nn.Linear(PIXELS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2 * (CONTENT + STYLE))
    )
    decoder = nn.Sequential(
        nn.Linear(CONTENT + STYLE, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 2 * PIXELS)
    )
    model = MLVAE(encoder, decoder, CONTENT, STYLE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(1, 11 if "--smoke" in sys.argv else 3001):
        chosen = train[torch.randint(len(train), (160,))]
        # Labels say which drawings belong together, and nothing else.
        present, group = digit[chosen].unique(return_inverse=True)
        loss = model(x[chosen], group, len(present))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 500 == 0:
            print(f"step {step}: ELBO {-loss.item() * len(present) / 160:.2f} nats per drawing")

    with torch.no_grad():
        # Every drawing alone, a group of its own.
        content, _, style_loc, style_log_scale = model.infer(x, torch.arange(len(x)), len(x))
        style, _ = draw(style_loc, style_log_scale)
        for name, code in (("content", content), ("a draw of style", style)):
            probe = LogisticRegression(max_iter=1000).fit(code[train].numpy(), digit[train].numpy())
            accuracy = probe.score(code[test].numpy(), digit[test].numpy())
            print(
                f"a linear probe reads the digit off {name} of one drawing: {accuracy:.3f}, "
                "chance 0.10"
            )

        # Content of all the held-out drawings of a digit, in the styles of ten drawings.
        content, *_ = model.infer(x[test], digit[test], 10)
        donors = test[:10]
        swaps, _ = model.decode(content.repeat_interleave(10, 0), style_loc[donors].repeat(10, 1))
    cells = nn.functional.pad(torch.cat([x[donors], swaps]).reshape(11, 10, 8, 8), (1, 1, 1, 1))
    sheet = cells.transpose(1, 2).reshape(110, 100).repeat_interleave(5, 0).repeat_interleave(5, 1)
    imsave("swap.png", sheet.numpy(), cmap="gray_r", vmin=0.0, vmax=4.0)


if __name__ == "__main__":
    main()
