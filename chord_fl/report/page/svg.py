"""A matplotlib figure as SVG inside a page: colours that follow the page's theme, text that stays text, no foreign ids.

inline(figure, name, title, description) -> str
"""

import io
import re
from html import escape
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from chord_fl.report.page.palette import variables

_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "chord-fl"}
_SHORTHAND = re.compile(r"font: (?:(\w+) )?([\d.]+)px [^;\"]*")  # as some versions of matplotlib write a font


def inline(figure: Figure, name: str, title: str, description: str) -> str:
    """The `<svg>` element alone, for use within HTML. `name` must be unique on the page: it prefixes every id."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_SETTINGS):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->|<style.*?</style>", "", text, flags=re.DOTALL)  # a style here would reach the page
    text = _own_ids(text, name)
    text = _themed(text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", _SHORTHAND.sub(_font, text))  # the page's own
    text = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", text)
    view = re.search(r'viewBox="[^"]*"', text)
    head = f'<svg {view[0] if view else ""} role="img" aria-labelledby="{name}-title {name}-desc">'
    words = f'<title id="{name}-title">{escape(title)}</title><desc id="{name}-desc">{escape(description)}</desc>'
    body = re.sub(r"^<svg[^>]*>", "", text, count=1)
    return head + words + re.sub(r">\s+<", "><", body).strip()


def _own_ids(text: str, name: str) -> str:
    """Drop the ids that nothing refers to, and prefix the others."""
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", text)
    text = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', text)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)


def _themed(text: str) -> str:
    names = variables()

    def themed(found: re.Match[str]) -> str:
        known = names.get(found[0].lower())
        return f"var({known[0]})" if known else found[0]

    # within style attributes alone: an id or a text may look like a colour
    return re.sub(r'style="[^"]*"', lambda style: re.sub(r"#[0-9a-fA-F]{6}\b", themed, style[0]), text)


def _font(found: re.Match[str]) -> str:
    weight = f"font-weight: {found[1]}; " if found[1] else ""
    return f"{weight}font-size: {found[2]}px"
