"""Ways in which every kind of file is damaged, or made to deceive whoever reads it."""

from __future__ import annotations

import gzip
import json
import random
import struct
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from damage_arrays import npy_header, npy_values, npz_members
from damage_bytes import BYTES, EXTREMES, flip, replace
from safetensors import safe_open
from safetensors.torch import save

from pyro_mlvae.training.checkpoint import digest

STRINGS = (
    *(
        "",
        "x",
        "../../x",
        "/etc/passwd",
        "code/../../evil.py:Evil",
        "../evil.py:Evil",
        "/x.py:Y",
        "a\0.py:B",
    ),
    *(
        "code/model.py:Model",
        "code/guide.py:G",
        "npz:/dev/zero",
        "~nobody-of-that-name",
        "\0",
        "\ud800",
        "%s",
    ),
    *("new\nline", "a" * 5000, "a" * 5000 + ".py:X", "nan", "1e999", "<script>", "{x}", "\x1b[2J"),
)
DEEP = "[" * 100_000


def json_value(chance: random.Random) -> Any:
    """A value that is not what was expected."""
    values: tuple[Any, ...] = (
        *(
            None,
            True,
            False,
            [],
            {},
            [[]],
            {"": None},
            [1.5],
            ["a"],
            [-1],
            [0],
            [2**62],
            [10**6] * 3,
            [1] * 3000,
        ),
        *(*EXTREMES[:-1], 0.5, -0.0, 1e308, float("nan"), float("inf"), -float("inf"), *STRINGS),
    )
    return chance.choice(values)


def json_settings(content: bytes, chance: random.Random) -> bytes:
    """JSON with another value, without one, or with one more, somewhere."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return content
    inside, path = value, chance.randrange(4)
    while path and isinstance(inside, dict | list) and inside:
        key = chance.choice(list(inside)) if isinstance(inside, dict) else chance.randrange(len(inside))
        if not isinstance(inside[key], dict | list) or not inside[key] or path == 1:
            break
        inside, path = inside[key], path - 1
    if isinstance(inside, dict | list) and inside:
        key = chance.choice(list(inside)) if isinstance(inside, dict) else chance.randrange(len(inside))
        how = chance.randrange(8)
        if how == 0:
            del inside[key]
        elif how == 1 and isinstance(inside, dict):
            inside[chance.choice((*STRINGS, key))] = json_value(chance)
        else:
            inside[key] = json_value(chance)
    else:
        value = json_value(chance)
    return json.dumps(value, indent=chance.choice((None, 2))).encode("utf-8", "surrogatepass")


def json_text(content: bytes, chance: random.Random) -> bytes:
    """JSON as none should be: nested without end, huge, with keys twice, in another code."""
    text = content.decode("utf-8", "replace")
    texts = (
        *(
            DEEP,
            '{"a":' * 50_000,
            "1" * 100_000,
            '"' + "a" * 5_000_000 + '"',
            "[]",
            "null",
            "{}",
            text + text,
        ),
        *(text.replace("1", number) for number in ("NaN", "1e999", "9" * 5000)),
        *(text.replace("{", '{"format_version": 1, "format_version": [], ', 1), text.replace('"', "'")),
    )
    codes = (b"\xef\xbb\xbf" + content, text.encode("utf-16"), b'{"x": "\xff"}')
    return chance.choice((*(text.encode() for text in texts), *codes))


def tensors(content: bytes, chance: random.Random) -> bytes:
    """A safetensors file whose header says something else."""
    size = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + size])
        names = [name for name in header if name != "__metadata__"]
        entry = header[chance.choice(names)]
        start, end = entry["data_offsets"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return content
    data, how = bytearray(content[8 + size :]), chance.randrange(9)
    if how == 0:
        entry["shape"] = chance.choice(
            ([], [0], [2**62], [2**32, 2**32], [-1], None, [end - start], [1] * 70)
        )
    elif how == 1:
        types = ("F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E5M2", "C64", "F4", "", None, "U64")
        entry["dtype"] = chance.choice(types)
    elif how == 2:
        places = ([0, 2**62], [end, start], [0, 0], [-1, 1], [start, end + 1], None, [])
        entry["data_offsets"] = chance.choice(places)
    elif how == 3:
        header[chance.choice((*names, *STRINGS))] = header.pop(chance.choice(names))
    elif how == 4:
        data[start:end] = struct.pack("<f", chance.choice((np.nan, np.inf, 3e38, 0.0))) * (
            (end - start) // 4
        )
        data += bytes(max(0, end - len(data)))
    elif how == 5:
        # Of another type, but sound: half as many values, each twice as wide.
        if entry["dtype"] == "F32" and entry["shape"] and entry["shape"][0] % 2 == 0:
            entry["dtype"] = chance.choice(("F64", "I64", "C64"))
            entry["shape"][0] //= 2
    else:
        metadata = header.setdefault("__metadata__", {})
        key = chance.choice([*metadata, "format_version", "x"])
        spoil = chance.choice((json_settings, json_settings, json_settings, json_text, flip))
        inner = spoil(str(metadata.get(key, "{}")).encode("utf-8", "surrogatepass"), chance)
        metadata[key] = json_value(chance) if chance.random() < 0.1 else inner.decode("utf-8", "replace")
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return signed(len(text).to_bytes(8, "little") + text + bytes(data))


def signed(content: bytes) -> bytes:
    """The same safetensors file, with the digest of a checkpoint, if it has one, made to fit."""
    try:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            with safe_open(file.name, framework="pt") as opened:
                metadata = opened.metadata() or {}
                whole = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if metadata.pop("sha256", None) is None:
            return content
        return save(whole, {**metadata, "sha256": digest(whole, metadata)})
    except Exception:  # there is nothing to sign
        return content


def gzipped(content: bytes, chance: random.Random) -> bytes:
    """A gzip file of something else: pixels damaged, or zeros that fill a disk."""
    if chance.random() < 0.2:
        return gzip.compress(bytes(2**26), mtime=0)
    try:
        return gzip.compress(chance.choice(BYTES)(gzip.decompress(content), chance), mtime=0)
    except Exception:  # it is damaged already
        return content


DAMAGE: dict[str, tuple[Callable[[bytes, random.Random], bytes], ...]] = {
    "npz": (*BYTES, npz_members, npz_members, npz_members, npz_members),
    "npy": (*BYTES, npy_header, npy_header, npy_header, npy_values, npy_values),
    "json": (*BYTES[:3], replace, json_settings, json_settings, json_settings, json_settings, json_text),
    "safetensors": (*BYTES, tensors, tensors, tensors, tensors),
    "gz": (*BYTES, gzipped, gzipped),
    "bytes": BYTES,
}
