"""The report's page: one file, which opens without a network."""

from __future__ import annotations

import base64
import dataclasses
import html
from collections.abc import Sequence

from dream_agents.experiments.report.figures import Figure
from dream_agents.experiments.report.tables import Table

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --note: #666; }
@media (prefers-color-scheme: dark) { :root { --note: #aaa; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 72rem; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
.note, figcaption { color: var(--note); font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; } th:first-child, td:first-child { text-align: left; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
figure { margin: 0; min-width: 0; } figure svg, figure img, video { width: 100%; height: auto; max-width: 34rem; }
pre { overflow-x: auto; padding: .6rem; border: 1px solid var(--line); font-size: .8rem; }
"""


@dataclasses.dataclass(frozen=True)
class Film:
    """A film of an agent.

    :param title: whose
    :param mp4: the file's bytes
    """

    title: str
    mp4: bytes


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture that another part of the package draws.

    :param name: of its file
    :param title: its caption
    :param png: the file's bytes
    """

    name: str
    title: str
    png: bytes


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the report.

    :param title: its heading
    :param items: tables, figures, pictures, films, and paragraphs as texts
    """

    title: str
    items: Sequence[Table | Figure | Picture | Film | str]


def render(title: str, about: str, sections: Sequence[Section]) -> str:
    """The page.

    :param title: its heading
    :param about: the paragraph under it
    :param sections: its parts
    """
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(title)}</h1><p>{html.escape(about)}</p>",
    ]
    for section in sections:
        parts.append(f"<section><h2>{html.escape(section.title)}</h2>")
        pictures: list[str] = []
        for item in section.items:
            if isinstance(item, Figure | Picture | Film):
                pictures.append(_figure(item))
                continue
            parts += _grid(pictures)
            pictures = []
            if isinstance(item, Table):
                parts += [f"<h3>{html.escape(item.title)}</h3>", item.html()]
            else:
                parts.append(f"<p>{html.escape(item)}</p>")
        parts += [*_grid(pictures), "</section>"]
    return "\n".join([*parts, "</body></html>"])


def _grid(pictures: Sequence[str]) -> list[str]:
    return [f"<div class=grid>{''.join(pictures)}</div>"] if pictures else []


def _figure(item: Figure | Picture | Film) -> str:
    caption = html.escape(item.title)
    if isinstance(item, Figure):
        shown = item.svg.replace("<svg ", f'<svg role="img" aria-label="{caption}" ', 1)
    elif isinstance(item, Picture):
        shown = f'<img alt="{caption}" src="data:image/png;base64,{_encoded(item.png)}">'
    else:
        shown = f'<video controls muted loop playsinline src="data:video/mp4;base64,{_encoded(item.mp4)}"></video>'
    return f"<figure>{shown}<figcaption>{caption}</figcaption></figure>"


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()
