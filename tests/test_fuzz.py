"""Whatever a user gives a command, it ends with an exit code and a sentence, never with a stack trace or an unexpected error."""

import contextlib
import io
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from bench import cli

GRID = 'methods = ["coop_ce"]\ndatasets = ["digits"]\nseeds = [1]\n[noise]\nsymmetric = [0.5]\n'
PLUGIN = 'from methods import Method, register\n\n@register("fuzzed")\nclass Fuzzed(Method):\n    """Fuzzed."""\n'
CARD = 'name = "a"\ntitle = "A"\nclasses = ["x", "y"]\ntemplates = ["a {}."]\n'
RECORD = b'{"schema_version": 1}'
# What a file may hold: nothing, garbage, and every kind of file that some command reads, whole or cut off or with other values.
CONTENTS = [
    b"",
    b"\0",
    b"\0" * 5000,
    b"\xff\xfe",
    b"PAR1",
    b"PAR1" + b"\x15\x04" * 50 + b"PAR1",
    b"[" * 20_000,
    b"{}",
    b"[]",
    b"null",
    b"1e999",
    b"x = " + b"[" * 5000,
    b"a" + b".a" * 5000 + b" = 1",
    b"x = 99999999999999999999999",
    b"x = 1979-13-99",
    GRID.encode(),
    CARD.encode(),
    PLUGIN.encode(),
    b"raise SystemExit(0)\n",
    b"import sys; sys.exit(3)\n",
    b"def (",
    b"1 / 0\n",
    RECORD,
    GRID.encode("utf-16"),
    "# caf\xe9\n".encode("latin-1"),
    b"method,dataset,accuracy,citation\n,,,\n",
    b'"',
    b"PK\x03\x04garbage",
    *(GRID.replace("[1]", value).encode() for value in ("[-2]", "[true]", "[1e400]", "[[1]]", "1", "[]", "[9223372036854775808]")),
    *((GRID + line).encode() for line in ("[train]\nlr = nan", "[[exclude]]\nseed = [1]", '[[exclude]]\nmethod = "x"')),
    *(
        (f"{key} = {value}\n" + GRID).encode()
        for key, value in (
            ("shots", "[-2]"),
            ("views", 1e300),
            ("backbones", '["\\u0000"]'),
            ("name", '"a/b"'),
            ("preset", "3"),
            ("nosuch", "{}"),
        )
    ),
]
contents = st.one_of(
    st.sampled_from(CONTENTS), st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
)
NAMES = ["grid.toml", "a.parquet", "plugin.py", "x.csv", "results.parquet", "w.safetensors", "n.npz", "Ω\x1b[2J.toml", "a b.json"]
NOWHERE = ["none.toml", "x" * 300 + ".toml", "a\0b.toml", "", "~nobody/x.toml", "grid.toml/below", "\udcff.toml", "/dev/null", "."]
WORDS = [
    "",
    "1/0",
    "nan",
    "-1",
    "inf",
    "gce",
    "\0",
    "x=y",
    "=",
    "a" * 300,
    "Ω",
    "*",
    "[",
    "embedded",
    "../..",
    "1e400",
    "99999999999999999999",
]

FILE, FOLDER, WORD, OUT = "FILE", "FOLDER", "WORD", "OUT"  # what is filled in
COMMANDS = [
    ["plan", FILE],
    ["plan", FILE, "--out", FILE],
    ["plan", FILE, "--plugin", FILE],
    ["plan", FILE, "--shard", WORD, "--json"],
    ["run", FILE, "--dry-run", "--plugin", FILE],
    ["run", "GOOD", "--out", FILE, "--device", WORD],
    ["run", "GOOD", "--on", WORD],
    ["run", "GOOD", "--out", FILE, "--shard", WORD, "--plugin", FILE],
    ["status", FOLDER],
    ["status", FILE, "--json"],
    ["report", FOLDER, "--out", OUT],
    ["report", FILE, "--out", FILE],
    ["report", FOLDER, "--out", OUT, "--where", WORD, "--control", WORD],
    ["compare", FILE, FOLDER],
    ["compare", FOLDER, FILE, "--margin", WORD],
    ["store", "verify", FOLDER],
    ["store", "verify", FILE],
    ["store", "gc", FOLDER, "--yes"],
    ["store", "export", FOLDER, "--out", FILE],
    ["import", FILE, FOLDER],
    ["import", FILE, FILE],
    ["export", WORD, "--results", FOLDER, "--out", FILE],
    ["noise", FILE, WORD, "0.5"],
    ["noise", "digits", "symmetric", WORD, "--seed", WORD],
    ["noise", WORD, "symmetric", "0.5", "--shots", WORD],
    ["noise", "digits", "symmetric", "0.5", "--out", FILE, "--backbone", WORD],
    ["check-method", WORD, "--plugin", FILE],
    ["curves", "--plugin", FILE, "--classes", WORD],
    ["methods", WORD],
    ["features", "verify", FILE],
    ["features", "extract", FILE, "--backbone", WORD],
    ["features", "extract", "--folder", FOLDER, "--backbone", WORD],
    ["features", "extract", "--folder", FOLDER, "--weights", FILE],
    ["features", "extract", "--grid", FILE, WORD],
    ["features", "import", "digits", "--train", FILE, "--test", FILE],
    ["doctor", WORD],
]


def call(words: list[str]) -> tuple[int, str]:
    """The exit code of a command and what it says on stderr."""
    out, error = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["bench", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error), pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        sys.argv = argv
    return int(ended.value.code or 0), error.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An empty folder to work in, with caches of its own."""
    from methods import registry

    folder = tmp_path_factory.mktemp("fuzz")
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.setenv("BENCH_FEATURES", str(folder / "features"))
    patch.delenv("BENCH_DATA", raising=False)
    patch.setattr(registry, "_classes", dict(registry._classes))
    patch.setattr("bench.prepare.doctor.slurm", lambda: iter(()))  # a controller that does not answer is waited for 9 s
    yield folder
    patch.undo()


@st.composite
def inputs(draw) -> tuple[list[str], dict[str, bytes | None]]:
    """A command's words, and the files (None: a folder) that they name."""
    words, files = [], {}
    for number, word in enumerate(draw(st.sampled_from(COMMANDS))):
        if word in {FILE, FOLDER}:
            name = draw(st.sampled_from(NAMES))
            how = draw(st.sampled_from(["file", "file", "folder", "store", "nowhere"]))
            if how == "nowhere":
                words.append(draw(st.sampled_from(NOWHERE)))
                continue
            name = f"{number}{name}"
            if how == "file":
                files[name] = draw(contents)
            elif how == "folder":
                files[name] = None
                files[f"{name}/{draw(st.sampled_from(NAMES))}"] = draw(contents)
            else:
                run = f"{name}/runs/{draw(st.sampled_from(['0123456789abcdef-01234567', '.DS_Store', 'x']))}"
                files |= {f"{name}/failed": None, f"{run}/record.json": draw(contents)}
            words.append(name)
        elif word == WORD:
            words.append(draw(st.sampled_from(WORDS)))
        else:
            words.append({OUT: "made", "GOOD": "good.toml"}.get(word, word))
    return words, files


def clean(place: Path) -> None:
    import shutil

    for path in place.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (place / "good.toml").write_text(GRID.replace("digits", "no_such_dataset"))


@settings(
    max_examples=int(os.environ.get("FUZZ", "25")),
    deadline=None,
    derandomize="FUZZ" not in os.environ,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(case=inputs())
@example(case=(["plan", "g.toml"], {"g.toml": (GRID + "shots = [-2]").encode()}))
@example(case=(["check-method", "fuzzed", "--plugin", "p.py"], {"p.py": b"raise SystemExit(0)\n"}))
def test_every_input_ends_in_a_sentence(place, case):
    words, files = case
    clean(place)
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if content is None else path.write_bytes(content)
    code, error = call(words)
    assert code in range(6), error
    assert "not expected" not in error
    assert "\x1b" not in error
    assert code in {0, 1} or error.strip()
