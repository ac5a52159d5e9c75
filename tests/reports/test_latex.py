"""The LaTeX tables compile as they are, in a real LaTeX (Debian: texlive-latex-base texlive-latex-recommended)."""

import shutil
import subprocess

import pytest

from reports import evidence, render
from reports.analysis import analyse

NASTY = r"50% of_{x} & $y$ #1 ~^\end{table} <b> | é"


def test_special_characters_are_escaped():
    assert render.latex_text("a_b & 5 % ± 1") == r"a\_b \& 5 \% $\pm$ 1"
    assert render.latex_text("\\x{}") == r"\textbackslash{}x\{\}"


@pytest.mark.latex
def test_every_table_compiles(sim, tmp_path):
    if not shutil.which("pdflatex"):
        pytest.fail("needs pdflatex (Debian: texlive-latex-base texlive-latex-recommended)")
    frame = sim.simulate(25, 14, 2, noise=(("clean", 0.0), ("symmetric", 0.5), ("pairflip", 0.25), ("pairflip", 0.5)))
    frame["label"] = frame["label"].replace({"sce": NASTY})
    frame["dataset"] = frame["dataset"].replace({"food": "f_o%od"})
    tables = evidence.all_tables(analyse(frame), pairs=False)
    body = "\n".join(render.latex(table) for table in tables)
    text = "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\n" + body + "\n\\end{document}\n"
    (tmp_path / "tables.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, errors="replace")
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 10_000
    assert "LaTeX Warning: Reference" not in done.stdout
