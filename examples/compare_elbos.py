"""Compare ELBO estimators where the truth is known: on the solved model, with exact evidence.

Run: python examples/compare_elbos.py [--smoke]
"""

import sys
from pathlib import Path
from typing import Any

from pyro_mlvae.comparison import compare_elbos, solved_problem
from pyro_mlvae.plotting import draw_comparison

smoke = "--smoke" in sys.argv
estimators = ["trace", "dreg", "mean-field", "group-iwae", "stl", "local"]
few: Any = {"epochs": 1, "draws": 4, "reference_draws": 4, "seconds": 0.02, "memory": False}
few |= {"rates": (1.0,), "seeds": 2}
if smoke:
    estimators = estimators[:2]

# First with the guide that is the exact posterior, where only the estimators can err; then with one
# that starts at random, and is trained.
for exact in (True, False):
    problem = solved_problem(groups=10, observations_per_group=16, exact=exact)
    comparison = compare_elbos(problem, estimators, particles=(1, 10), **(few if smoke else {}))
    print(f"\nguide: {'the exact posterior' if exact else 'random, then trained'}")
    for row in comparison["rows"]:
        if row["stage"] == ("initial" if exact else "trained"):
            snr = row["gradient_snr"]["content_encoder"]
            print(
                f"{row['estimator']:12}{row['num_particles']:3} particles: "
                f"gap {round(row['gap'], 4) + 0.0:7.4f} ± {row['standard_error']:.4f} nats an "
                "observation, "
                f"signal / noise of content {'undefined' if snr is None else f'{snr:.2f}'}, "
                f"{row['ms_per_step']:.1f} ms"
            )

# The last comparison, as pictures: tightness, signal, trade-off and training at equal time.
draw_comparison(Path("elbos"), comparison)
