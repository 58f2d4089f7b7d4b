"""The page: whole, escaped, readable without network, and honest about what is missing."""

from html.parser import HTMLParser

import pytest

from mpj_runner.contract.report import Best, Environment, Provenance, Sensitivity
from mpj_runner.contract.result import Artifact, Artifacts, Result
from mpj_runner.report.html import tag, text
from mpj_runner.report.page import page

EVIL = """</style><script>alert("1")</script><img src=x onerror='alert(2)'>&"""
SHA = "ab" * 32


class Dom(HTMLParser):
    """Check that tags are balanced; collect what tests ask for."""

    VOID = frozenset({"meta", "link"})

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def named(self, name):
        return [attrs for tag, attrs in self.tags if tag == name]


@pytest.fixture
def full(make):
    """A report with something in every part of it, and an attack in every free text."""
    file = Artifact(uri=f"s3://a/{EVIL}", sha256=SHA, size_bytes=1)
    return make.report(
        make.result("int8", 1.7, 0.001, reasons=(EVIL,)),
        make.result("aq-9", 1.6, 0.002),
        make.result("plain", 1.8, 0.02, state="Rejected", reasons=("Drop 0.0200 is above 0.005.",)),
        make.result("lost", 1.9, 0.4, state="Rejected"),
        Result(name="mine", state="Failed", reasons=(EVIL,)),
        environment=Environment(
            backend="openvino", hardware=EVIL, packages={EVIL: EVIL}, conditions=(EVIL,), image=EVIL
        ),
        sensitivity=tuple(Sensitivity(layer=EVIL, node=EVIL, score=1 / (i + 1)) for i in range(30)),
        provenance=(
            Provenance(
                unit="int8", step="ptq", key=SHA, seconds=1.25, cached=True, outputs={EVIL: SHA}
            ),
        ),
        deadline_exceeded=True,
    ).model_copy(
        update={"best": Best(name="int8", reason=EVIL, artifacts=Artifacts(engine=file, onnx=file))}
    )


def test_the_page_is_whole_and_asks_nobody_for_anything(full):
    source = page(full)
    dom = Dom(source)
    assert source.startswith("<!doctype html>")
    assert dom.named("script") == []
    assert dom.named("img") == []
    addresses = [v for _, attrs in dom.tags for k, v in attrs.items() if k in {"href", "src"}]
    assert addresses == ["data:,"]
    assert "@import" not in source
    assert "url(" not in source
    (policy,) = [m for m in dom.named("meta") if m.get("http-equiv")]
    assert policy["content"].startswith("default-src 'none'")


def test_free_text_is_shown_and_never_markup(full):
    dom = Dom(page(full))
    assert "".join(dom.texts).count(EVIL) >= 8
    assert not any(key.startswith("on") for _, attrs in dom.tags for key in attrs)
    assert len(dom.named("style")) == 1


def test_the_verdict_comes_first_and_everything_else_is_there(full):
    dom = Dom(page(full))
    words = " ".join(" ".join(dom.texts).split())
    order = [
        "int8 runs 1.70\u00d7 as fast as the FP32 baseline",
        "The deadline came before every candidate was judged.",
        "All engines",
        "Speed against accuracy",
        "Files to ship",
        "Sensitive layers",
        "Provenance",
        "1 steps, 1 from the cache",
    ]
    places = [words.index(part) for part in order]
    assert places == sorted(places)
    assert "30 % of the reference" in words
    assert "57 of 64" in words


def test_tables_and_plots_can_be_read_aloud(full):
    dom = Dom(page(full))
    rows = [attrs for attrs in dom.named("th") if attrs.get("scope") == "row"]
    assert len(rows) == 7 + 1
    assert len([a for a in dom.named("th") if a.get("scope") == "col"]) == 9 + 6
    assert len(dom.named("caption")) == 2
    ids = {attrs["id"] for _, attrs in dom.tags if "id" in attrs}
    plots = [svg for svg in dom.named("svg") if svg.get("role") == "img"]
    assert len(plots) == 2
    for svg in plots:
        assert set(svg["aria-labelledby"].split()) <= ids
    assert dom.named("html") == [{"lang": "en"}]


def test_the_plot_shows_every_judged_engine_and_the_lost_one_at_its_edge(full):
    dom = Dom(page(full))
    points = [a["class"] for a in dom.named("g") if a.get("class", "").startswith("point")]
    assert sorted(points) == [
        "point accepted", "point accepted best", "point rejected", "point rejected",
        "point yardstick", "point yardstick",
    ]  # fmt: skip
    assert "lost (0.4000)" in dom.texts


def test_bars_are_at_most_twenty(full):
    bars = [a for a in Dom(page(full)).named("rect") if a.get("class") == "bar"]
    assert len(bars) == 20
    assert bars[0]["width"] == "100.00%"


def test_light_dark_phone_and_paper_are_styled(full):
    source = page(full)
    for query in ("prefers-color-scheme: dark", "max-width: 40rem", "@media print"):
        assert query in source


def test_a_report_with_nothing_but_failures_is_a_page_too(make):
    failed = Result(name="int8", state="Failed", reasons=("build: out of memory",))
    made = make.report(
        failed,
        best="reference",
        reference=make.result("reference", None, None),
        baseline=make.result("baseline", None, None, state="Failed"),
    )
    dom = Dom(page(made))
    assert "Ship the FP32 reference: no candidate was both accurate and fast enough." in dom.texts
    assert "Speed against accuracy" not in dom.texts
    assert "Sensitive layers" not in dom.texts


def test_one_metric_is_shown_throughout(make):
    made = make.report(make.result("int8", 1.7, 0.001))
    asked = made.objective.model_copy(update={"metric": "mAP50"})
    texts = Dom(page(made.model_copy(update={"objective": asked}))).texts
    assert "mAP50" in texts
    assert "0.7990" in texts
    assert "0.5990" not in texts


def test_markup_is_escaped_by_construction():
    assert tag("p", EVIL, title=EVIL).count("<") == 2
    assert text("a<b", tag("b", "c"), None) == "a&lt;b<b>c</b>"
    assert tag("td", class_="x", data_label="y", hidden=True, id=None) == (
        '<td class="x" data-label="y" hidden></td>'
    )
    assert tag("rect", x=1) == '<rect x="1"/>'
