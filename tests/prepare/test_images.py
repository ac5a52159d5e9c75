"""Images of every kind come out as CoOp reads them."""

import struct

import numpy as np
import pytest
from PIL import Image

from bench.prepare.extract import UNREADABLE
from bench.prepare.images import FolderImages


def picture(width=8, height=6):
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2] = (250, 10, 20)
    pixels[height // 2 :, width // 2 :] = (10, 20, 250)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("mode", "name", "tolerance"),
    [
        ("RGB", "a.png", 0),
        ("P", "a.png", 51),
        ("CMYK", "a.tif", 2),
        ("RGBA", "a.png", 0),
        ("RGB", "a.bmp", 0),
        ("RGB", "a.gif", 40),
    ],
)
def test_any_mode_becomes_rgb(tmp_path, mode, name, tolerance):
    picture().convert(mode).save(tmp_path / name)
    read = FolderImages(tmp_path)(name)[0]
    assert read.mode == "RGB"
    assert np.abs(np.asarray(read).astype(int) - np.asarray(picture())).max() <= tolerance


def test_grayscale_gets_three_equal_channels(tmp_path):
    gray = picture().convert("L")
    gray.save(tmp_path / "a.png")
    read = np.asarray(FolderImages(tmp_path)("a.png")[0])
    assert all(np.array_equal(read[..., c], np.asarray(gray)) for c in range(3))


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    picture(64, 48).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    read = np.asarray(FolderImages(tmp_path)("a.jpg")[0]).astype(int)
    assert np.abs(read[4, 4] - (250, 10, 20)).max() < 30


def test_exif_orientation_is_left_alone_as_coop_does(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90° to show
    picture().save(tmp_path / "a.png", exif=exif)
    read = FolderImages(tmp_path)("a.png")[0]
    assert read.size == (8, 6)
    assert np.array_equal(np.asarray(read), np.asarray(picture()))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("transparency", [3, bytes(range(256))])
def test_a_palettes_transparency_is_dropped_without_a_warning(tmp_path, transparency):
    picture().convert("P").save(tmp_path / "a.png", transparency=transparency)
    picture().convert("P").save(tmp_path / "b.png")
    assert np.array_equal(*(np.asarray(FolderImages(tmp_path)(name)[0]) for name in ("a.png", "b.png")))


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "the file is empty"), (b"no image", "no image in a format"), (b"\xff\xd8\xff\xe0 half a jpeg", "^(?!.* at 0x)")],
)
def test_what_is_no_image_cannot_be_read(tmp_path, content, why):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UNREADABLE, match=why):
        FolderImages(tmp_path)("a.jpg")


def test_a_truncated_jpeg_cannot_be_read(tmp_path):
    picture(200, 150).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(UNREADABLE, match="truncated"):
        FolderImages(tmp_path)("a.jpg")


def test_an_image_too_large_to_be_safe_cannot_be_read(tmp_path, monkeypatch):
    picture().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(UNREADABLE):
        FolderImages(tmp_path)("a.png")


def test_missing_files_are_named(tmp_path):
    picture().save(tmp_path / "a.png")
    assert FolderImages(tmp_path).missing(["a.png", "b.png", "c/a.png"]) == ["b.png", "c/a.png"]


@pytest.mark.parametrize(("name", "dtype"), [("a.png", "<u2"), ("a.tif", "<u2"), ("a.tif", ">u2"), ("a.pgm", "<u2")])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, name, dtype):
    """Every 8-bit value comes back from its 16-bit one (v · 257), as the PNG specification scales samples."""
    levels = np.arange(256).reshape(16, 16)
    Image.fromarray((levels * 257).astype(dtype)).save(tmp_path / name)
    read = FolderImages(tmp_path)(name)[0]
    assert read.mode == "RGB"
    assert all(np.array_equal(np.asarray(read)[..., c], levels) for c in range(3))
    between = np.array([[128, 129, 32767, 32896, 65406, 65407]], dtype=dtype)  # rounded to the nearest
    Image.fromarray(between).save(tmp_path / name)
    assert np.array_equal(np.asarray(FolderImages(tmp_path)(name)[0])[..., 0], np.floor(between.astype(float) * 255 / 65535 + 0.5))


def test_white_is_the_largest_number_of_a_tiffs_own_bits(tmp_path):
    """Twelve bits, packed, as microscopes write them: 4095 is white. (Pillow only reads such files, so it is put together.)"""
    samples = [0, 16, 2048, 4095]
    packed = int("".join(f"{value:012b}" for value in samples), 2).to_bytes(6, "big")
    tags = {256: 4, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 6}
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    (tmp_path / "a.tif").write_bytes(b"II*\0" + struct.pack("<I", 14) + packed + struct.pack("<H", len(tags)) + fields + bytes(4))
    assert np.asarray(FolderImages(tmp_path)("a.tif")[0])[0, :, 0].tolist() == [0, 1, 128, 255]


def test_samples_of_no_known_range_cannot_be_read(tmp_path):
    levels = np.arange(256).reshape(16, 16)
    Image.fromarray(levels.astype(np.float32) / 255).save(tmp_path / "float.tif")
    Image.fromarray((levels * 1000).astype(np.int32)).save(tmp_path / "int32.tif")
    Image.fromarray((levels * 257).astype(np.uint16)).save(tmp_path / "inverted.tif", tiffinfo={262: 0})
    for name in ("float.tif", "int32.tif", "inverted.tif"):
        with pytest.raises(UNREADABLE, match="which value is white is not known"):
            FolderImages(tmp_path)(name)


def test_the_content_of_a_file_changes_with_it(tmp_path):
    picture().save(tmp_path / "a.png")
    picture(9).save(tmp_path / "b.png")
    read = FolderImages(tmp_path)
    before = read.content("a.png")
    assert before == read.content("a.png") != read.content("b.png")
    size = (tmp_path / "a.png").stat().st_size
    assert before.startswith(f"{size}-")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))  # of the same size
    assert read.content("a.png") != before
