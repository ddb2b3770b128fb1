"""Ways in which npy and npz files are made to deceive whoever reads them."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zipfile
from typing import Any

import numpy as np
from damage_bytes import BYTES, EXTREMES, PICKLES


def npy_header(content: bytes, chance: random.Random) -> bytes:
    """The data of an npy file under a header that says something else."""
    shapes = (
        *("(8,)", "()", "(0,)", "(8, 0)", "(1000000000000, 0)", "(-8, -1)", "(2,) * 9", "(8, 1, 8, 8)"),
        *("(True,)", "('a',)", "None", "8", "(8.0,)", "[8]", f"({2**32}, {2**32})", f"(1{', 1' * 100})"),
        *(f"({n},)" for n in EXTREMES if n < 10**31),
        f"({', '.join([str(2**32)] * 4)})",
    )
    types = (
        *("'<f4'", "'>f4'", "'<f2'", "'<f8'", "'<f16'", "'<c8'", "'|O'", "'O'", "'|b1'", "'|u1'", "'<i8'"),
        *(
            "'<u8'",
            "'<U0'",
            "'|S0'",
            "'|V0'",
            "'|V8'",
            "'<U1'",
            "'>U2'",
            "'|S3'",
            "'<U999999999'",
            "'<M8[ns]'",
        ),
        *(
            "'<m8[D]'",
            "'<u2'",
            "[('a', '<f4')]",
            "[('a', '|O')]",
            "('<f4', (2, 2))",
            "('|O', (2,))",
            "[]",
            "()",
        ),
        *("('x',)", "None", "1", "[('a', '<f4'), ('a', '<f4')]", "[(('t', 'n'), '<f4', (3,))]", "{'a': 1}"),
        *("'nonsense'", "'<f3'", "''"),
    )
    shape, kind = chance.choice(shapes), chance.choice(types)
    order = chance.choice(("False", "True"))
    texts = [f"{{'descr': {kind}, 'fortran_order': {order}, 'shape': {shape}, }}"] * 8
    texts += [
        *(
            "(" * 9000,
            "-" * 9000 + "1",
            "[" * 150 + "]" * 150,
            "{1: 2, 'a': 3}",
            "{{}: 1}",
            "__import__('os')",
        ),
        *(f"{{'descr': '<f4', 'fortran_order': 0, 'shape': {shape}}}", "{'descr': '<f4'}", "\0" * 100, ""),
        *("9" * 9000, f"{{'descr': '<f4', 'fortran_order': False, 'shape': {'(' * 90}8{',)' * 90}}}"),
    ]
    text = chance.choice(texts).encode() + b" " * chance.choice((0, 0, 0, 100, 20_000)) + b"\n"
    start = content.find(b"\n") + 1
    data = chance.choice((content[start:], content[start:], b"", bytes(8), bytes(64)))
    version = chance.choice((1, 1, 1, 2, 3, 9))
    length = chance.choice((len(text), len(text), len(text), 0, 2**16 - 1, 2**32 - 1))
    size = struct.pack("<H", length % 2**16) if version == 1 else struct.pack("<I", length % 2**32)
    return b"\x93NUMPY" + bytes((version, 0)) + size + text + data


def npy_values(content: bytes, chance: random.Random) -> bytes:
    """Another array, sound in itself."""
    numbers = (np.nan, np.inf, 2**63 - 1, -(2**63), 1j, True, "a", "", "\0", b"\xff", b"")
    shapes = ((8,), (8, 1, 8, 8), (0,), (8, 0), (0, 3), (7, 1, 8, 8), (8, 2, 2, 2, 2), (8, *(1,) * 31))
    arrays: tuple[Any, ...] = (
        *(np.full((8, 1, 8, 8), value, np.float32) for value in (np.nan, np.inf, -np.inf, 3e38, 1e-45)),
        *(np.full(8, value) for value in numbers),
        *(np.zeros(shape, np.uint8) for shape in shapes),
        *(np.zeros((8, 3), kind) for kind in ("g", "c8", "M8[s]", "f2", "u2", "V3")),
        *(
            np.array(["NaT"] * 8, "M8[s]"),
            np.array(["x" * 10_000] * 8),
            np.zeros(8, [("a", "f4"), ("b", "U2")]),
        ),
        *(np.asfortranarray(np.zeros((8, 3))), np.array(5.0), np.full((8, 3), 2**63, np.uint64)),
        np.frombuffer(chance.randbytes(32), "<U1"),
    )
    file = io.BytesIO()
    np.save(file, chance.choice(arrays))
    return file.getvalue()


def npz_members(content: bytes, chance: random.Random) -> bytes:
    """An npz file with other members, or under other names."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [[name, archive.read(name)] for name in archive.namelist()]
    except Exception:  # it is damaged already
        return content
    member = chance.choice(members or [["x.npy", b""]])
    how = chance.randrange(6)
    if how < 3:
        member[1] = chance.choice((npy_header, npy_header, npy_values, *BYTES))(member[1], chance)
    elif how == 3:
        names = ("../../x.npy", "/x.npy", "x", "group", "x.npy", "label", "label.npy", "n\nl")
        members.append([chance.choice(names), chance.choice((*PICKLES.values(), b"", member[1]))])
    elif how == 4:
        member[0] = chance.choice(("x", "X.npy", "../x.npy", "group.npy", "x.npy/", "label.npy"))
    else:
        zeros = bytes(chance.choice((2**20, 2**26)))
        bomb = b"\x93NUMPY\x02\x00" + struct.pack("<I", len(zeros)) + zeros
        member[1] = chance.choice((zeros, bomb))
    file, packing = (
        io.BytesIO(),
        chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)),
    )
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", packing) as archive:
        warnings.filterwarnings("ignore", message="Duplicate name")
        for name, data in members:
            archive.writestr(name or "x", data)
    return file.getvalue()
