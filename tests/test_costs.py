"""The cost page: bills by hand, savings beside paired losses, and a script that computes what Python computes."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from report_factory import make_probability, make_report, make_rows
from test_browser import BROWSER, opened
from test_html import HOSTILE, Outline

from core.errors import UserError
from eval import dashboard
from eval.pages import costs
from eval.pages.page import source_hash
from eval.pages.runs import Runs, find
from eval.schema.live_prices import Prices

PRICES = Prices(
    texts_per_second=300, cores=2, busy=0.5, other_memory_mb=80, least_instances=2, price_per_core=20, price_per_gb=5
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dear teacher, a cheap student that misses more, one that was timed on validation only, one never timed."""
    root, rows = tmp_path_factory.mktemp("artifacts"), make_rows(200, 300)
    kinds = (("teacher", 4, 40.0), ("student", 40, 2.0), ("other", 8, None), ("bare", 9, None))
    for name, wrong, milliseconds in kinds:
        make_report(
            root / name, rows, make_probability(rows, range(wrong)), model_id=name, size_mb=20.0 + wrong,
            milliseconds=milliseconds,
        )  # fmt: skip
    make_report(root / "timed", make_rows(), model_id="other", split="validation", size_mb=28.0, milliseconds=4.0)
    make_report(root / "namesake", make_rows(), model_id="bare", split="validation", size_mb=99.0, milliseconds=4.0)
    return root


@pytest.fixture(scope="module")
def runs(folder: Path) -> Runs:
    return find(folder)


def test_a_bill_by_hand() -> None:
    """4 ms on 2 half-busy cores: 250 texts a second each, so 300 need two; 0.2 GB and 2 cores are 41 a month."""
    bill = costs.bill(4.0, 120.0, PRICES)
    assert (bill.instances, bill.carries, bill.memory_gb) == (2, 500, pytest.approx(0.2))
    assert bill.cost == pytest.approx(2 * (2 * 20 + 0.2 * 5))
    assert costs.bill(10.0, 120.0, PRICES).instances == 3  # exactly three times 100
    assert costs.bill(10.1, 120.0, PRICES).instances == 4
    assert costs.bill(0.1, 120.0, PRICES).instances == 2  # at least
    few = costs.bill(40.0, 120.0, PRICES.model_copy(update={"instances": 3}))
    assert (few.instances, few.carries, few.enough) == (3, 75, False)  # fewer than the load
    given = costs.bill(4.0, 120.0, PRICES.model_copy(update={"memory_mb": 512}))
    assert (given.memory_gb, given.enough) == (0.512, True)
    assert given.cost == pytest.approx(2 * (2 * 20 + 0.512 * 5))
    assert not costs.bill(4.0, 120.0, PRICES.model_copy(update={"memory_mb": 199})).enough  # 200 are taken


def test_savings_stand_beside_the_loss_of_accuracy(runs: Runs, folder: Path) -> None:
    of_test, of_validation = (
        next(one for one in costs.tables(runs, folder, folder / "page.html", PRICES) if one.split == split)
        for split in ("test", "validation")
    )
    # The baseline, then by price, of equals the higher F1.
    assert [one.name for one in of_test.options] == ["teacher", "other", "student", "bare"]
    assert {one.name for one in of_validation.options} == {"other", "bare"}
    teacher, other, student, bare = of_test.options
    assert teacher.baseline
    assert teacher.losses == {}
    assert teacher.bill is not None
    assert student.bill is not None
    assert teacher.bill.instances == 13  # 40.3 ms: 24.8 a second each
    assert student.saves == pytest.approx(teacher.bill.cost - student.bill.cost)
    recall = student.losses["binary_recall"]
    assert recall.difference == pytest.approx((160 - 196) / 200)
    assert recall.interval is not None
    assert recall.interval[0] < recall.difference < recall.interval[1] < 0
    assert recall.worse
    assert not student.losses["false_positive_rate"].worse
    assert student.why == ""
    assert other.measured is not None
    assert other.measured.caution == "timed on validation"
    assert (bare.measured, bare.bill, bare.saves) == (None, None, None)  # the timed one is another of that name
    assert bare.losses["binary_f1"].interval is not None


def test_another_baseline_by_name(runs: Runs, folder: Path) -> None:
    table = costs.tables(runs, folder, folder / "page.html", PRICES, "student")[-1]
    of_test = next(one for one in costs.tables(runs, folder, folder / "p", PRICES, "student") if one.split == "test")
    assert of_test.options[0].name == "student"
    teacher = next(one for one in of_test.options if one.name == "teacher")
    assert (teacher.saves or 0) < 0
    assert teacher.losses["binary_recall"].difference > 0
    assert table.options
    with pytest.raises(UserError, match="no report is of 'studnet'"):
        costs.tables(runs, folder, folder / "page.html", PRICES, "studnet")


def test_without_kept_predictions_the_loss_has_no_interval(tmp_path: Path) -> None:
    rows = make_rows(30, 30)
    for name, wrong in (("one", 2), ("two", 5)):
        make_report(tmp_path / name, rows, make_probability(rows, range(wrong)), model_id=name)
    (tmp_path / "two" / "predictions.parquet").unlink()
    option = costs.tables(find(tmp_path), tmp_path, tmp_path / "page.html", PRICES, "one")[0].options[1]
    assert option.losses["binary_recall"].difference == pytest.approx(-0.1)
    assert option.losses["binary_recall"].interval is None
    assert not option.losses["binary_recall"].worse
    assert "predictions.parquet" in option.why


def test_the_page_is_whole_and_leads_back(runs: Runs, folder: Path) -> None:
    page = dashboard.costs_to_html(runs, folder, folder / "board #1.html", PRICES)
    found = Outline(page)
    assert not found.unbalanced
    assert sum(tag == "script" for tag, _ in found.tags) == 1
    links = [attributes["href"] for tag, attributes in found.tags if tag == "a"]
    assert links[0] == "board%20%231.html"
    assert len(links) == 7
    names = [attributes["data-price"] for tag, attributes in found.tags if "data-price" in attributes]
    assert names == list(Prices.model_fields)
    text = " ".join(" ".join(found.text).split())
    for phrase in ("test : 500 texts", "baseline", "timed on validation", "not timed, or its memory not measured"):
        assert phrase in text, phrase
    assert "saved against the dearest" in text
    assert page == dashboard.costs_to_html(runs, folder, folder / "board #1.html", PRICES)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    for number in range(2):
        made = make_report(tmp_path / str(number), model_id=f"{' '.join(HOSTILE[:4])} {number}")
        report = made.model_copy(update={"precision": HOSTILE[0], "split": HOSTILE[1]})
        (tmp_path / str(number) / "report.json").write_text(report.model_dump_json())
    found = Outline(dashboard.costs_to_html(find(tmp_path), tmp_path, tmp_path / "page.html", PRICES))
    assert not found.unbalanced
    assert sum(tag == "script" for tag, _ in found.tags) == 1
    assert not [tag for tag, _ in found.tags if tag == "img"]


def test_the_command_writes_both_pages(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*more: str) -> object:
        monkeypatch.setattr(sys, "argv", ["dashboard", str(folder), "--output", str(tmp_path / "new/page.html"), *more])
        with pytest.raises(SystemExit) as ended:
            dashboard.main()
        return ended.value.code

    assert run("--price", "busy=2") == 2
    assert "--price busy: Input should be less than or equal to 1" in capsys.readouterr().err
    assert run("--price", "buzy=2") == 2
    assert run("--baseline", "nobody") == 2
    assert not (tmp_path / "new").exists()  # nothing is half-written
    assert run("--price", "price_per_core=1000", "--baseline", "student") == 0
    assert 'href="page-costs.html"' in (tmp_path / "new/page.html").read_text()
    page = (tmp_path / "new/page-costs.html").read_text()
    assert 'value="1000.0"' in page
    assert "saved against <bdi>student</bdi> (where that was not judged: the dearest), and" in page


@pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome on the PATH")
def test_the_script_computes_what_python_computes(runs: Runs, folder: Path, tmp_path: Path) -> None:
    """The page opens with the default prices; its script is given ours, and must show what ours would have shown."""
    html = dashboard.costs_to_html(runs, folder, tmp_path / "page.html", Prices(), "student")
    code = html.partition("<script>")[2].partition("</script>")[0]
    ours = PRICES.model_copy(update={"instances": 3, "memory_mb": 150.0})
    typed = code + (
        f"const ours = {json.dumps(ours.model_dump())};"
        "for (const input of inputs) input.value = ours[input.dataset.price];"
        "inputs[0].dispatchEvent(new Event('input'));"
    )
    page = tmp_path / "page.html"
    page.write_text(html.replace(source_hash(code), source_hash(typed)).replace(code, typed), encoding="utf-8")
    document, said = opened(page, tmp_path / "profile")
    assert said == []
    expected = dashboard.costs_to_html(runs, folder, tmp_path / "page.html", ours, "student")

    def shown(source: str) -> list[tuple[str, str]]:
        """Cells of the rows, which keep the order of the prices that the page was made with."""
        return sorted(re.findall(r'data-show="(\w+)">([^<]*)<', source))

    assert shown(document) == shown(expected)
    assert shown(document) != shown(html)
    assert document.count('class="short"') == expected.count('class="short"') > 0
