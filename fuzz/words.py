"""What command lines are spoiled with."""


def words(text: str) -> tuple[str, ...]:
    """The words of a text."""
    return tuple(text.split())


NUMBERS = (
    *words("""
    0 -1 1 2 3 50 51 1e3 1.5 -0.5 0.5 1.0 nan inf -inf 1e308 1e-320 1_0 0x10 ٣ 2147483648 4294967296
    9223372036854775807 9223372036854775808 18446744073709551616 1000000000000000000000000000000
    """),
    *("1" + "0" * 400, "9" * 5000),
)
PATHS = (
    *words("""
    . .. / out out/a/b run ../canary ../canary/new canary.txt data.npz /dev/null /dev/full
    /proc/self/new /nowhere/new ~ ~nobody-of-that-name/x $HOME * ünïcode out.png out.PNG out.jpg out.npz
    images arrays run/config.json run.png run/vae broken empty %s%n {x} CON - -- run/figures/x.png
    data.npz/x.png
    """),
    *("", "a b", "new\nline.png", "tab\t.npz", "\x1b[31mred", "\udcff"),
    *("a" * 250 + ".png", "a" * 300, "a/" * 3000),
)
NAMES = (
    *words("""
    digits linear-gaussian mnist fashion-mnist omniglot celeba lfw digit Digits : http://x/y npz:npz:x
    mlvae vae three-level mixture-prior auto product-of-normals average-of-normals product-with-prior
    own.py:Model own.py:Guide own.py:Nothing own.py: .py: x.py:Y broken.py:Model
    pyro_mlvae/models/mlvae.py:MLVAE own.py:Model:Guide trace mean-field graph renyi group-iwae nested-iwae
    group-renyi dreg stl local normal normal-learned bernoulli continuous-bernoulli mlp conv groups
    observations cpu cuda cuda:0 cuda:-1 cuda:9999999999999999999999 meta grid content style both a b
    None none True False [] ()
    """),
    *(f"{kind}:{path}" for kind in ("npz", "npy", "folder") for path in PATHS),
    "a" * 5000 + ".py:X",
)
FLAGS = words("""
    --data --data-root --image-size --grayscale --skip-bad --model --guide --out --style-given-content
    --likelihood --content-dim --style-dim --network --hidden --sampler --groups-per-batch
    --observations-per-group --epochs --learning-rate --elbo --num-particles --alpha --beta-content
    --beta-style --warmup-steps --free-bits-content --free-bits-style --aggregate-style --hsic --vae
    --no-vae --test-fraction --resume --hold-out-groups --hold-out-fraction --seed --download --device
    --overwrite --estimators --particles --groups --seconds --draws --reference-draws --memory
    --no-memory --content --style --evidence --steps --vary --rows --columns --which --Epochs --epoch -e
    --no-epochs --data=digits --epochs= --= --hidden=3
""")
