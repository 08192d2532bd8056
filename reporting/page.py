"""The frame of every report: one HTML page that asks nobody for anything.

Styles and the small script are inline. Without script everything can be read: values of figures
are SVG titles, tables are `<details>`. Colours follow the reader's light or dark setting.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

LIGHT = {
    "--paper": "#ffffff",
    "--panel": "#f5f6f8",
    "--ink": "#333333",
    "--soft": "#5f6670",
    "--grid": "#b0b0b0",
    "--line": "#dddfe3",
    "--bad": "#b3261e",
    "--bad-paper": "#fbe3e1",
    "--c1": "#1f5fa8",
    "--c2": "#d1495b",
    "--c3": "#2a9d8f",
    "--c4": "#e9a23b",
    "--c5": "#7b4fa3",
    "--c6": "#5b8c3a",
    "--c7": "#444444",
    "--c8": "#c06c34",
    "--c9": "#2c9fb8",
    "--c10": "#a83279",
    "--faint": "#888888",
}
"""Name -> colour. Figures are drawn in these; `themed` puts the names in their place."""
DARK = {
    "--paper": "#15181c",
    "--panel": "#1f242a",
    "--ink": "#e4e7eb",
    "--soft": "#a5adb8",
    "--grid": "#5c646e",
    "--line": "#363d46",
    "--bad": "#ffb4ab",
    "--bad-paper": "#5a2320",
    "--c1": "#6aaef5",
    "--c2": "#f08291",
    "--c3": "#54c7b8",
    "--c4": "#f2bb66",
    "--c5": "#b58be0",
    "--c6": "#93c46f",
    "--c7": "#b9b9b9",
    "--c8": "#e0935f",
    "--c9": "#5cc5dd",
    "--c10": "#e070b4",
    "--faint": "#9a9a9a",
}
SERIES = tuple(LIGHT[f"--c{number}"] for number in range(1, 11))
"""Colours of curves, in order."""

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1120px;
       padding: 1.5rem 1rem 4rem; color: var(--ink); background: var(--paper); }
h1 { margin: 0; font-size: 1.7rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 2.2rem 0 .4rem; font-size: 1.25rem; }
h3 { margin: 0 0 .3rem; font-size: 1rem; }
p { max-width: 46rem; } .sub { color: var(--soft); margin: .2rem 0 1rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 210px), 1fr));
         gap: .8rem; margin: 1rem 0; }
.card { background: var(--panel); border-radius: 8px; padding: .6rem .9rem; }
.card b { display: block; font-size: 1.45rem; } .card small { color: var(--soft); display: block; }
.note { background: var(--bad-paper); border-radius: 8px; padding: .6rem .9rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 430px), 1fr));
           gap: 1.2rem; margin: 1rem 0; }
figure { margin: 0; min-width: 0; } figure svg { display: block; width: 100%; height: auto; }
figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem; }
.hit { fill: transparent; stroke: none; } .hit:hover, .hit.on { fill: var(--ink); opacity: .3; }
#tip { position: absolute; display: none; pointer-events: none; background: var(--ink);
       color: var(--paper); border-radius: 6px; padding: .2rem .5rem; font-size: .85rem;
       white-space: pre-line; max-width: 16rem; z-index: 2; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--line);
         vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td + td { white-space: nowrap; }
.left td { white-space: normal; overflow-wrap: anywhere; min-width: 5rem; }
td:first-child, th:first-child, .left td, .left th { text-align: left; }
details { margin: .8rem 0; } summary { cursor: pointer; }
pre { background: var(--panel); border-radius: 8px; padding: 1rem; overflow: auto;
      font-size: .85rem; }
.bar { display: inline-block; width: 8rem; height: .7rem; background: var(--panel);
       border-radius: 3px; vertical-align: middle; }
.bar i { display: block; height: 100%; background: var(--c1); border-radius: 3px; }
.pair { border-bottom: 1px solid var(--line); padding: .5rem 0; display: grid;
        grid-template-columns: 3.2rem 1fr; gap: 0 .8rem; overflow-wrap: anywhere; }
.pair span { color: var(--soft); font-size: .85rem; } .pair .who { grid-column: 1 / 3; }
del, ins, mark { color: var(--bad); background: var(--bad-paper); border-radius: 3px;
                 padding: 0 .15rem; }
del { text-decoration: line-through; } ins { text-decoration: underline; }
"""

_SCRIPT = """
const tip = document.getElementById("tip");
function show(event) {
  const svg = event.target.closest && event.target.closest("figure svg");
  document.querySelectorAll(".hit.on").forEach((hit) => hit.classList.remove("on"));
  tip.style.display = "none";
  if (!svg) return;
  let best = null, least = 28 * 28;
  for (const hit of svg.querySelectorAll(".hit")) {
    const box = hit.getBoundingClientRect();
    const x = box.x + box.width / 2 - event.clientX, y = box.y + box.height / 2 - event.clientY;
    if (x * x + y * y < least) { least = x * x + y * y; best = hit; }
  }
  if (!best) return;
  best.classList.add("on");
  tip.textContent = best.getAttribute("data-tip");
  tip.style.display = "block";
  const wide = document.documentElement.clientWidth;
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, wide - tip.offsetWidth - 4))
    + scrollX + "px";
  tip.style.top = event.clientY + scrollY + 16 + "px";
}
document.querySelectorAll(".hit").forEach((hit) => {  // the browser's own tip would come twice
  const title = hit.querySelector("title");
  hit.setAttribute("data-tip", title.textContent);
  hit.setAttribute("aria-label", title.textContent);
  title.remove();
});
document.addEventListener("pointermove", show);
document.addEventListener("pointerdown", show);
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<style>{style}</style></head><body>
<h1>{title}</h1>
<p class="sub">{subtitle}</p>
{body}
<div id="tip" role="status"></div>
<script>{script}</script>
</body></html>
"""


def page(title: str, subtitle: str, body: Iterable[str]) -> str:
    """A whole page. title, subtitle: text; body: HTML parts, empty ones left out."""
    return _PAGE.format(
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        style=_colours(LIGHT) + "@media (prefers-color-scheme: dark) {" + _colours(DARK) + "}"
        + _STYLE,
        body="\n".join(part for part in body if part),
        script=_SCRIPT,
    )  # fmt: skip


def section(head: str, *parts: str) -> str:
    """A headed part; nothing if all its parts are empty."""
    found = [part for part in parts if part]
    return "\n".join([f"<h2>{html.escape(head)}</h2>", *found]) if found else ""


def paragraph(text: str, kind: str = "") -> str:
    """Text as a paragraph."""
    return f"<p{f' class={kind}' if kind else ''}>{html.escape(text)}</p>" if text else ""


def cards(shown: Iterable[tuple[str, str, str]]) -> str:
    """Figures of a run, large: (what it is, value, explanation)."""
    return (
        '<div class="cards">'
        + "".join(
            f'<div class="card"><small>{html.escape(label)}</small><b>{html.escape(value)}</b>'
            f"<small>{html.escape(told)}</small></div>"
            for label, value, told in shown
        )
        + "</div>"
    )


def figure(title: str, svg: str, caption: str) -> str:
    """An SVG with what it shows, in plain words."""
    return (
        f"<figure><h3>{html.escape(title)}</h3>{themed(svg)}"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def figures(drawn: Sequence[str]) -> str:
    """Figures beside one another where there is room."""
    return f'<div class="figures">{"".join(drawn)}</div>' if drawn else ""


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, left: bool = False, marked: bool = False
) -> str:
    """A table that scrolls in its own box. Cells are text, or HTML if `marked`."""

    def cell(text: str) -> str:
        return text if marked else html.escape(text)

    head = "".join(f"<th>{html.escape(text)}</th>" for text in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{cell(text)}</td>" for text in row) + "</tr>" for row in rows
    )
    kind = ' class="left"' if left else ""
    return (
        f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def folded(summary: str, inner: str, *, opened: bool = False) -> str:
    """HTML that folds."""
    if not inner:
        return ""
    state = " open" if opened else ""
    return f"<details{state}><summary>{html.escape(summary)}</summary>{inner}</details>"


def preformatted(text: str) -> str:
    """Text as it is."""
    return f"<pre>{html.escape(text)}</pre>"


def themed(svg: str) -> str:
    """An SVG drawn in the colours of `LIGHT`, so that it follows the page's."""
    names = {colour: name for name, colour in LIGHT.items() if colour != "#ffffff"}
    found = re.sub(
        r"#[0-9a-f]{6}\b",
        lambda match: f"var({names[match[0]]})" if match[0] in names else match[0],
        svg,
    )
    # Drawing programs' notes and fixed sizes; the page gives the width.
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.DOTALL)
    return re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"|(<svg[^>]*?) height="[^"]*"'
                  r'(?=[^>]*>)', lambda m: m[1] or m[2], found, count=1)  # fmt: skip


def _colours(table: dict[str, str]) -> str:
    return ":root {" + " ".join(f"{name}: {colour};" for name, colour in table.items()) + "}\n"
