"""A folder of images becomes groups and pixels; what is wrong with one is said in a sentence."""

import logging
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_mlvae import InputError
from pyro_mlvae.data.folders import load_folder, size_for_first_run

GREEK = ("Greek/alpha/1.png", "Greek/alpha/2.png", "Greek/beta/1.png", "Latin/a/1.png")


def draw(file, mode="L", size=(6, 4), color=0, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color).save(file, **options)
    return file


def draw_all(root, names, **options):
    for name in names:
        draw(root / name, **options)
    return root


def test_the_folder_of_an_image_is_its_group_and_the_folder_above_its_super_group(tmp_path):
    data = load_folder(draw_all(tmp_path, GREEK))
    assert data.group_names == ("Greek/alpha", "Greek/beta", "Latin/a")
    assert data.group.tolist() == [0, 0, 1, 2]
    assert data.parent_names == ("Greek", "Latin")
    assert data.parent.tolist() == [0, 0, 1]
    assert data.x.shape == (4, 1, 4, 6)
    assert data.x.dtype == torch.uint8


def test_where_every_group_lies_directly_under_the_root_there_are_no_super_groups(tmp_path):
    data = load_folder(draw_all(tmp_path, ("ann/1.png", "bob/1.png", "loose.png")))
    assert data.group_names == (".", "ann", "bob")
    assert data.parent is None
    assert data.parent_names == ()


def test_groups_may_lie_at_any_depth(tmp_path):
    data = load_folder(draw_all(tmp_path, ("a/b/c/d/1.png", "a/1.png", "1.png")))
    assert data.group_names == (".", "a", "a/b/c/d")
    assert [data.parent_names[i] for i in data.parent] == [".", ".", "a/b/c"]


def test_every_format_is_read_whatever_the_case_and_nothing_else_is(tmp_path):
    names = ("a/1.png", "a/2.JPG", "a/3.jpeg", "a/4.PGM", "a/5.bmp", "a/6.webp")
    draw_all(tmp_path, names, color=255)
    for name in ("a/.hidden.png", ".cache/7.png", "a/._1.png"):
        draw(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / "Thumbs.db").write_bytes(b"no image")
    (tmp_path / "a" / "folder.png").mkdir()
    data = load_folder(tmp_path)
    # WebP knows no grey, so all have three channels.
    assert data.x.shape == (len(names), 3, 4, 6)
    assert (data.x == 255).all()


def test_images_come_in_the_order_of_their_names(tmp_path):
    for value in (30, 10, 20):
        draw(tmp_path / "b" / f"{value}.png", color=value)
        draw(tmp_path / "a" / f"{value}.png", color=value + 1)
    assert load_folder(tmp_path).x[:, 0, 0, 0].tolist() == [11, 21, 31, 10, 20, 30]


@pytest.mark.parametrize(
    ("mode", "color", "channels", "value"),
    [
        ("1", 1, 1, [255]),
        ("L", 7, 1, [7]),
        ("LA", (7, 255), 1, [7]),
        ("LA", (7, 0), 1, [255]),  # what is transparent is laid on white
        ("P", 3, 3, None),
        ("RGB", (1, 2, 3), 3, [1, 2, 3]),
        ("RGBA", (1, 2, 3, 255), 3, [1, 2, 3]),
        ("RGBA", (1, 2, 3, 0), 3, [255, 255, 255]),
        ("I;16", 0x1234, 1, [0x12]),  # Pillow's own conversion would clip it to 255
    ],
)
def test_grey_has_one_channel_and_colour_three(tmp_path, mode, color, channels, value):
    data = load_folder(draw_all(tmp_path, ("a/1.png", "b/1.png"), mode=mode, color=color))
    assert data.x.shape == (2, channels, 4, 6)
    if value is not None:
        assert data.x[0, :, 0, 0].tolist() == value


def test_a_pgm_of_16_bits_is_cut_to_8(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("1.pgm", "2.pgm"):
        (tmp_path / "a" / name).write_bytes(b"P5 2 1 65535\n" + bytes([0x12, 0x34, 0xFF, 0xFF]))
    assert load_folder(tmp_path).x[0].tolist() == [[[0x12, 0xFF]]]


def test_where_grey_and_colour_occur_all_have_three_channels_unless_grey_is_asked_for(tmp_path):
    draw(tmp_path / "a" / "1.png", color=9)
    draw(tmp_path / "b" / "1.png", mode="RGB", color=(50, 50, 50))
    both = load_folder(tmp_path)
    assert both.x[:, :, 0, 0].tolist() == [[9, 9, 9], [50, 50, 50]]
    grey = load_folder(tmp_path, grayscale=True)
    assert grey.x[:, :, 0, 0].tolist() == [[9], [50]]


def test_exif_turns_an_image_upright(tmp_path):
    pixels = np.zeros((8, 16), dtype=np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    (tmp_path / "a").mkdir()
    for name in ("1.jpg", "2.jpg"):
        Image.fromarray(pixels).save(tmp_path / "a" / name, exif=exif)
    upright = load_folder(tmp_path).x[0, 0]
    assert upright.shape == (16, 8)
    assert upright[:7].min() > 200
    assert upright[9:].max() < 50


def test_an_image_size_resizes_the_shorter_side_and_cuts_the_centre_out(tmp_path):
    wide = np.zeros((20, 60), dtype=np.uint8)
    wide[:, 20:40] = 255
    (tmp_path / "a").mkdir()
    Image.fromarray(wide).save(tmp_path / "a" / "wide.png")
    Image.fromarray(wide.T.copy()).save(tmp_path / "a" / "tall.png")
    data = load_folder(tmp_path, image_size=10)
    assert data.x.shape == (2, 1, 10, 10)
    assert data.x[:, :, 1:-1, 1:-1].min() == 255


def test_a_drawing_in_black_and_white_becomes_smooth_grey(tmp_path):
    pixels = torch.rand(105, 105, generator=torch.Generator().manual_seed(0)) < 0.5
    (tmp_path / "a").mkdir()
    for name in ("1.png", "2.png"):
        Image.fromarray(pixels.numpy()).convert("1").save(tmp_path / "a" / name)
    x = load_folder(tmp_path, image_size=28).x
    assert len(x.unique()) > 50
    # Each pixel is a weighted mean of all those that it covers, so of random ones they vary less.
    assert x.float().std() < 60
    assert float(x.float().mean()) == pytest.approx(255 * float(pixels.float().mean()), rel=0.02)


def test_a_large_photograph_is_reduced_by_its_decoder_to_the_same_picture(tmp_path):
    ramp = np.linspace(0, 255, 800).astype(np.uint8)[None].repeat(600, 0)
    for name in ("a/1.jpg", "a/1.png"):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.fromarray(ramp).save(tmp_path / name)
    jpg, png = load_folder(tmp_path, image_size=32).x.float()
    assert float((jpg - png).abs().max()) < 6


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    draw(tmp_path / "elsewhere" / "1.png")
    root = draw_all(tmp_path / "root", ("a/1.png",))
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "up").symlink_to(root)
    assert load_folder(root).group_names == ("a", "b")


@pytest.mark.parametrize(
    ("images", "place", "sentence"),
    [
        ((), "nowhere", r"the folder of images .*/nowhere does not exist"),
        (("1.png",), "1.png", r"1\.png is a file, not a folder"),
        ((), "a", r"^no images were found in or below .*: put at least two \(png, jpg"),
        (("a/lonely.png",), "a", r"^only one image, lonely\.png, was found in or below"),
    ],
)
def test_a_place_without_two_images_is_refused(tmp_path, images, place, sentence):
    draw_all(tmp_path, images)
    (tmp_path / "a").mkdir(exist_ok=True)
    (tmp_path / "a" / "notes.txt").touch()
    with pytest.raises(InputError, match=sentence):
        load_folder(tmp_path / place)


def test_mixed_sizes_are_refused_with_two_that_differ_and_the_flag(tmp_path):
    draw_all(tmp_path, ("a/1.png", "a/2.png"))
    draw(tmp_path / "b" / "1.png", size=(7, 5))
    with pytest.raises(
        InputError, match=r"a/1\.png has 6x4 and b/1\.png has 7x5 pixels.* --image-size"
    ):
        load_folder(tmp_path)
    assert load_folder(tmp_path, image_size=4).x.shape == (3, 1, 4, 4)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(64, 80), (64, 80)], None),
        ([(65, 80), (65, 80)], 32),
        ([(8, 8), (9, 8)], 32),
    ],
)
def test_a_first_run_reads_images_as_they_are_where_they_are_small_and_alike(
    tmp_path, sizes, expected
):
    for i, size in enumerate(sizes):
        draw(tmp_path / "a" / f"{i}.png", size=size)
    (tmp_path / "a" / "broken.png").write_text("no image")
    assert size_for_first_run(tmp_path) == expected


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_an_image_size_is_a_positive_whole_number(tmp_path, size):
    with pytest.raises(Exception, match="image_size"):
        load_folder(draw_all(tmp_path, GREEK), image_size=size)


def truncate(file):
    """Cut a noisy image's file in half."""
    file.parent.mkdir(exist_ok=True, parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (truncate, ".*"),
        (lambda file: file.write_text("<html>not found</html>"), "not an image of a known format"),
        (lambda file: file.symlink_to("nowhere.png"), "No such file or directory"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(tmp_path, spoil, reason):
    draw_all(tmp_path, GREEK, size=(40, 40))
    spoil(tmp_path / "Greek" / "alpha" / "3.png")
    said = rf"1 of the 5 images in .* cannot be read, Greek/alpha/3\.png \({reason}\): .*--skip-bad"
    with pytest.raises(InputError, match=said):
        load_folder(tmp_path)


def test_of_many_bad_files_five_are_named(tmp_path):
    draw_all(tmp_path, GREEK, size=(40, 40))
    for i in range(7):
        truncate(tmp_path / "Latin" / "a" / f"bad{i}.png")
    with pytest.raises(
        InputError, match=r"^7 of the 11 images .*bad0\.png.*bad4\.png \([^)]*\) and 2 more:"
    ) as error:
        load_folder(tmp_path)
    assert "bad5" not in str(error.value)


def test_bad_files_are_skipped_on_request_and_counted_in_the_log(tmp_path, caplog):
    draw_all(tmp_path, GREEK, size=(40, 40))
    truncate(tmp_path / "Greek" / "alpha" / "0.png")
    with caplog.at_level(logging.WARNING, logger="pyro_mlvae"):
        data = load_folder(tmp_path, skip_bad=True)
    assert len(data) == 4
    assert data.group.tolist() == [0, 0, 1, 2]
    [record] = caplog.records
    assert record.name == "pyro_mlvae"
    assert record.getMessage().startswith("skipped: 1 of the 5 images in ")
    assert "\n" not in record.getMessage()


def test_where_all_are_bad_there_is_nothing_to_skip_to(tmp_path):
    for name in ("1.png", "2.png"):
        truncate(tmp_path / "a" / name)
    with pytest.raises(InputError, match=r"2 of the 2 images .* fewer than two are left"):
        load_folder(tmp_path, skip_bad=True)


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_decompression_bomb_is_refused_without_being_unpacked(tmp_path, side):
    # Pillow only warns of the smaller one.
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    draw_all(tmp_path, GREEK)
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    (tmp_path / "Latin" / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    with pytest.raises(
        InputError, match=r"Latin/bomb\.png \(more than the \d+ pixels that are taken for safe\)"
    ):
        load_folder(tmp_path)
