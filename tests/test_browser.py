"""The pages in a real browser: nothing on the console, our script runs, nobody else's does."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_factory import make_answers, make_calls, make_probability, make_report, make_rows

from core.schema import Evaluation
from eval import dashboard
from eval.html import to_html
from eval.judge import Measured, judge
from eval.kept import Kept
from eval.pages.page import source_hash
from eval.pages.runs import find

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
    "--virtual-time-budget=2000", "--dump-dom",
)  # fmt: skip
OWNED = "document.title='owned';document.body.id='owned'"
ATTACKS = (f"<script>{OWNED}</script>", f'"><img src=x onerror="{OWNED}">', f"</style></title><script>{OWNED}</script>")

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome on the PATH")


def opened(page: Path, profile: Path) -> tuple[str, list[str]]:
    """The document as the browser sees it after its scripts have run, and what that page said on the console."""
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={profile}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line and page.name in line]
    return done.stdout, said


def test_the_report_opens_in_silence_and_hostile_texts_do_not_run(tmp_path: Path) -> None:
    rows = make_rows(20, 20)
    poison = tuple(ATTACKS[index % len(ATTACKS)] for index in range(len(rows)))
    rows = replace(rows, texts=poison, sources=poison, families=(*poison[:20], *rows.families[20:]))
    made = make_report(tmp_path / "made")
    bare = replace(Measured.of(made), model_id=ATTACKS[2])
    wrong = np.where(rows.labels == 1, 0.2, 0.8)
    evidence = Kept(rows, make_answers(rows, wrong), make_calls(len(rows), 2.0))
    page = tmp_path / "report.html"
    page.write_text(to_html(judge(evidence, bare, Evaluation(bootstrap_repeats=100), 13), evidence), encoding="utf-8")
    document, said = opened(page, tmp_path / "profile")
    assert said == []
    assert re.search(r"<title>.*</title>", document, re.DOTALL)
    assert "owned'" in document  # it is there to be read …
    assert "<title>owned" not in document  # … and did not run
    assert 'id="owned"' not in document
    assert "<script" not in document
    assert "<img" not in document


def test_the_dashboard_opens_in_silence_and_sorts(tmp_path: Path) -> None:
    rows = make_rows()
    for name, wrong, milliseconds in (("one", 3, 2.0), ("two", 9, 1.0), ("three", 6, None)):
        folder = tmp_path / "runs" / name
        probability = make_probability(rows, wrong=range(wrong))
        make_report(folder, rows, probability, model_id=name + ATTACKS[0], milliseconds=milliseconds)
    page = tmp_path / "dashboard.html"
    html = dashboard.to_html(find(tmp_path / "runs"), tmp_path / "runs", page)
    page.write_text(html, encoding="utf-8")
    document, said = opened(page, tmp_path / "profile")
    assert said == []
    assert '<p class="filter">' in document  # our script, which alone may run, has shown it
    assert "<title>owned" not in document

    # The same page whose script also clicks: on P95 (twice, falling), then on the filter's last button.
    code = html.partition("<script>")[2].partition("</script>")[0]
    clicks = "".join(
        f"[...document.querySelectorAll('.runs thead button')].find((b) => b.textContent === '{name}').click();"
        for name in ("P95 ms", "P95 ms")
    )
    clicked = html.replace(source_hash(code), source_hash(code + clicks)).replace(code, code + clicks)
    page.write_text(clicked, encoding="utf-8")
    document, said = opened(page, tmp_path / "profile")
    assert said == []
    assert re.findall(r'<tr id="run-(\d)"', html) == ["1", "2", "3"]  # by F1: one, three, two
    assert re.findall(r'<tr id="run-(\d)"', document) == ["1", "3", "2"]  # slowest first, what was not timed last
    assert 'aria-sort="descending"' in document


def test_the_browser_would_tell(tmp_path: Path) -> None:
    """A page whose script fails, one that breaks its policy, and one without a policy are all caught."""
    pages = {
        "error.html": "<title>fine</title><body><script>missing.function()</script>",
        "policy.html": "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\"><title>fine</title>"
        f"<body>{ATTACKS[0]}",
        "open.html": f"<title>fine</title><body>{ATTACKS[0]}",
    }
    found = {}
    for name, content in pages.items():
        (tmp_path / name).write_text(f"<!doctype html>{content}", encoding="utf-8")
        found[name] = opened(tmp_path / name, tmp_path / "profile")
    assert any("missing is not defined" in line for line in found["error.html"][1])
    assert any("Content Security Policy" in line for line in found["policy.html"][1])
    assert "<title>fine" in found["policy.html"][0]
    assert "<title>owned" in found["open.html"][0]
