"""Paths, text in any marked encoding, files that are there whole or not at all."""

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ENVIRONMENT, BenchError
from bench.files import parse_toml, read_json, read_text, replacing, resolved, sha256, write_json, write_text
from bench.paths import data_root, features_root

TEXT = 'name = "Geißblatt – 忍冬"\nzwei = 2\n'


def test_every_spelling_of_a_path_is_one(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PLACE", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    monkeypatch.chdir(tmp_path / "data")
    expected = (tmp_path / "data" / "w.pt").resolve()
    for spelling in ("w.pt", "./w.pt", "../data/w.pt", "~/data/w.pt", "$PLACE/w.pt", "${PLACE}/w.pt", "~/link/w.pt", str(expected)):
        assert resolved(spelling) == expected
    for name, root in (("BENCH_DATA", data_root), ("BENCH_FEATURES", features_root)):
        for spelling in ("~/link/w.pt", "w.pt", "$PLACE/w.pt"):
            monkeypatch.setenv(name, spelling)
            assert root() == expected


def test_what_cannot_be_a_path_is_told(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for bad in ("a\0b", "~nobody-of-this-name/x", tmp_path / "a" / "x"):
        with pytest.raises(BenchError, match="cannot be a path"):
            resolved(bad)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_text_reads_alike_in_every_marked_encoding(tmp_path, encoding, newline):
    (tmp_path / "a.toml").write_bytes(TEXT.replace("\n", newline).encode(encoding))
    assert read_text(tmp_path / "a.toml") == TEXT
    assert parse_toml(read_text(tmp_path / "a.toml"), "it")["zwei"] == 2


def test_big_endian_text_with_a_mark_reads_too(tmp_path):
    (tmp_path / "a").write_bytes(b"\xfe\xff" + TEXT.encode("utf-16-be"))
    assert read_text(tmp_path / "a") == TEXT


def test_other_encodings_are_refused_with_their_line(tmp_path):
    (tmp_path / "a.toml").write_bytes("eins = 1\nname = 'Geißblatt'\n".encode("latin-1"))
    with pytest.raises(BenchError, match=r"line 2 of grid file .*a\.toml is not UTF-8.*iconv -f latin1"):
        read_text(tmp_path / "a.toml", "grid file")
    (tmp_path / "b.toml").write_bytes("eins = 1".encode("utf-16-le"))
    with pytest.raises(BenchError, match="UTF-16 without its mark"):
        read_text(tmp_path / "b.toml")
    (tmp_path / "c.toml").write_bytes(b"\xff\xfea")
    with pytest.raises(BenchError, match="is not UTF-16") as damaged:
        read_text(tmp_path / "c.toml")
    assert damaged.value.hint == "Save it as UTF-8."
    (tmp_path / "my grid.toml").write_bytes(b"\xdf")
    with pytest.raises(BenchError, match=r"utf-8 'my grid\.toml'"):
        read_text(tmp_path / "my grid.toml")


def test_what_cannot_be_read_is_told(tmp_path):
    with pytest.raises(BenchError, match=r"card .*no\.toml does not exist\. Name one\."):
        read_text(tmp_path / "no.toml", "card", "Name one.")
    with pytest.raises(BenchError, match=r"cannot be read .Is a directory"):
        read_text(tmp_path)
    with pytest.raises(BenchError, match=r"cannot be read .File name too long"):
        read_text(tmp_path / ("x" * 300))
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(BenchError, match="is not valid JSON"):
        read_json(tmp_path / "a.json")
    for text in ("a = ", "a = " + "[" * 100_000, "a = 1979-13-41", "a = " + "9" * 5000):
        with pytest.raises(BenchError, match="it is not valid TOML"):
            parse_toml(text, "it")


@given(st.binary(max_size=40))
def test_no_bytes_lead_to_anything_but_text_or_a_sentence(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz"
    path.write_bytes(data)
    with contextlib.suppress(BenchError):
        assert "\r" not in read_text(path)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"ü": [1, None]})
    assert read_json(path) == {"ü": [1, None]}

    def fail():
        with replacing(path) as aside:
            aside.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert read_json(path) == {"ü": [1, None]}
    with replacing(path) as one, replacing(path) as two:  # two writers never share a file
        assert one != two
        one.write_text("1")
        two.write_text("2")
    assert path.read_text() == "1"
    assert list(path.parent.iterdir()) == [path]


def test_where_nothing_can_be_written_that_is_told_and_nothing_left(tmp_path):
    write_text(tmp_path / "file", "x")
    for path in (tmp_path / "file" / "a", tmp_path / ("x" * 300)):
        with pytest.raises(BenchError, match="could not be written") as caught:
            write_text(path, "y")
        assert caught.value.code == ENVIRONMENT
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_sha256_is_hashlibs(tmp_path):
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()
