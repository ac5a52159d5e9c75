"""The LaTeX tables fit where papers put them, in a real LaTeX (Debian: texlive-latex-recommended texlive-science)."""

import re
import shutil
import subprocess

import pandas as pd
import pytest

from methods import registry
from reports import evidence, latex, paper, style, typesetting
from reports.analysis import analyse
from reports.tables import Entry, Table

LONG = "a method that is trained twice, then weighted by_a_word_that_is_longer_than_any_column_could_ever_be, and then again"
NASTY = r'"5" %_{x} & $y$ #1 ~^\end{table} <b> | Éç ε ð ½ 漢'
STYLES = {  # class, text width and height, column separation in points, as the styles set them; fonts
    "neurips": (r"\documentclass{article}", 397.5, 650, 10, r"\usepackage{times}"),
    "cvpr": (r"\documentclass[10pt,twocolumn]{article}", 496.9, 641, 22.5, r"\usepackage{times}"),
    "article": (r"\documentclass{article}", 345, 550, 10, ""),
}


def test_special_characters_are_escaped():
    assert typesetting.text("a_b & 5 % ± 1") == r"a\_b \& 5 \% $\pm$ 1"
    assert typesetting.text("\\x{}") == r"\textbackslash{}x\{\}"


def test_minus_is_a_minus_and_a_hyphen_a_hyphen():
    assert typesetting.text("-0.3 to +1.2") == "$-$0.3 to +1.2"
    assert typesetting.text("zero-shot, 3-1 (-2)") == "zero-shot, 3-1 ($-$2)"


def test_names_keep_their_accents_and_greek_letters():
    assert typesetting.text("Müller, ε-softmax, 漢 ½") == r"Müller, $\varepsilon$-softmax, ? ?"
    assert not [title for name in style.KNOWN if "?" in typesetting.text(title := registry.load(name).title)]


def test_quotes_open_and_close_in_every_encoding():
    assert typesetting.text('GCE from "a photo of a", 3" high') == "GCE from ``a photo of a'', 3'' high"


@pytest.mark.latex
@pytest.mark.parametrize("style", STYLES)
def test_every_table_compiles_and_fits(sim, tmp_path, style):
    if not shutil.which("pdflatex"):
        pytest.fail("needs pdflatex (Debian: texlive-latex-recommended texlive-science)")
    noise = (("clean", 0.0), ("symmetric", 0.25), ("symmetric", 0.5), ("symmetric", 0.75), ("pairflip", 0.25), ("pairflip", 0.5))
    frame = sim.simulate(9, 7, 3, noise=noise)
    frame["label"] = frame["label"].replace({"sce": NASTY, "gce": LONG})
    frame["dataset"] = frame["dataset"].replace(
        {"food": "f_o%od", "arrows": "icons_animals_nature", "weather": "of_" * 40, "animals": "average"}
    )
    analysis = analyse(frame)
    tall = [(f"method {i}", [Entry(f"{i}.{k} ± 0.1") for k in range(9)]) for i in range(60)]
    tables = [*evidence.all_tables(analysis, pairs=False), *paper.tables(analysis, paper.Layout())]
    tables.append(Table("tall", "Tall", "A word or two. " * 50, [f"dataset {k}" for k in range(9)], tall, pd.DataFrame()))
    documentclass, wide, high, gap, fonts = STYLES[style]
    setup = "Setup: backbone ViT-B-16, 16 shots per class, 3 seeds."
    written = "\n".join(latex.column(table, setup) + latex.across(table, setup, wide) for table in tables)
    body = re.sub(r"(\\end\{table\*?\})", r"\1\\clearpage", written)  # so that no float waits
    preamble = rf"{documentclass}\usepackage[textwidth={wide}pt,textheight={high}pt,columnsep={gap}pt]{{geometry}}{fonts}"
    text = preamble + "\\usepackage{booktabs,siunitx}\\begin{document}\n" + body + "\n\\end{document}\n"
    assert all(float(size) >= 7 for size in re.findall(r"\\fontsize\{([\d.]+)\}", text))
    assert "resizebox" not in text
    (tmp_path / "tables.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace")
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.findall(r"Overfull \\hbox.*|Float too large.*", done.stdout) == []
