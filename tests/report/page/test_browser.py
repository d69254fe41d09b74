"""The page in a real browser, where one is installed: a phone, a desktop, light and dark."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from chord_fl.report.page.render import write
from tests.report.page.browser import Tab, installed, tab

pytestmark = pytest.mark.skipif(installed() is None, reason="no Chromium here: the page is not opened")

LUMINANCE = """(colour => {
  const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b; })"""


@pytest.fixture(scope="module")
def page(comparison: list[Path], life: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts, so that everything that a page can have is on it."""
    return write([*comparison, *life], tmp_path_factory.mktemp("browser") / "report.html").page


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with tab(str(installed()), tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (1280, "dark")])
def test_it_fits_loads_nothing_and_can_be_read(browser: Tab, page: Path, width: int, scheme: str) -> None:
    browser.events.clear()
    browser.open(page, width, scheme)
    assert browser.ask('document.querySelectorAll("figure svg text").length') > 100

    assert browser.ask("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    requests = [event["request"]["url"] for event in browser.of("Network.requestWillBeSent")]
    assert requests == [page.resolve().as_uri()]
    assert browser.of("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown") == []

    # no text of a figure is cut at its edges
    cut = browser.ask("""[...document.querySelectorAll("figure svg text")].filter(text => {
        const a = text.getBoundingClientRect(), b = text.closest("svg").getBoundingClientRect();
        return a.left < b.left - 3 || a.right > b.right + 3 || a.top < b.top - 3 || a.bottom > b.bottom + 3;
      }).map(text => text.closest("figure").id + ": " + text.textContent)""")
    assert cut == []

    # every text stands out from the page behind it, 4.5 to 1 (WCAG AA)
    faint = browser.ask(f"""(() => {{
        const of = {LUMINANCE}, ground = of(getComputedStyle(document.body).backgroundColor);
        const dim = (element, name) => {{
          const [low, high] = [of(getComputedStyle(element)[name]), ground].sort((a, b) => a - b);
          return (high + 0.05) / (low + 0.05) < 4.5; }};
        return [...[...document.querySelectorAll("figure svg text")].filter(text => dim(text, "fill")),
                ...[...document.querySelectorAll("p, th, td, li, h1, h2, h3, summary, a")].filter(e => dim(e, "color"))]
          .map(element => element.textContent); }})()""")
    assert faint == []
    dark = browser.ask(f"{LUMINANCE}(getComputedStyle(document.body).backgroundColor) < 0.05")
    assert dark == (scheme == "dark")
