"""A story told by pull requests, as people see them on GitHub, in one page that needs no network.

The page's form is page.html, a Jinja template with square brackets ([[ value ]]), which escapes every value. Reports
are Markdown: of their HTML only what GitHub's own reports are made of passes, and their charts become images.
"""

import os
import re
import signal
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from datetime import date, datetime, timedelta
from html import escape
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markupsafe import Markup

from .project import Project

Json = Mapping[str, Any]
PASSES = re.compile(r"(</?(?:details|summary|code)>|<!--.*?-->)", re.DOTALL)
MARKS = {"success": "✓", "failure": "✗", "skipped": "–", "cancelled": "–"}
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 300, 34, 26, 24  # of the chart, and its margins


class Event(NamedTuple):
    """What happened on a day of the story; an event with a `mark`, a word of the style sheet, is on the chart too."""

    day: date
    what: str
    pull: int | None = None
    mark: str = ""


def seen(project: Project, number: int, refusal: str = "") -> dict[str, Any]:
    """What GitHub's API says of a pull request; refusal: its words to whoever tried to merge it."""
    pull = project.call("GET", f"pulls/{number}")
    checks = project.call("GET", f"commits/{pull['head']['sha']}/check-runs")["check_runs"]
    return {
        "pull": pull,
        "files": project.call("GET", f"pulls/{number}/files"),
        "checks": sorted(checks, key=lambda check: int(check["id"])),
        "comments": project.comments(number),
        "reviews": project.call("GET", f"pulls/{number}/reviews"),
        "refusal": refusal,
    }


def artist() -> ProcessPoolExecutor:
    """A process for `shape`, beside what else goes on: a chart takes a second."""
    return ProcessPoolExecutor(1, get_context("spawn"), aside)


def aside() -> None:
    """Gives way to other processes, and leaves Ctrl-C to the one that draws for somebody."""
    os.nice(10)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def render(
    title: str,
    pulls: Sequence[Json],
    links: Mapping[str, str],
    events: Sequence[Event] = (),
    chart: Json | None = None,
    ledger: Sequence[Json] = (),
) -> str:
    """The page; pulls: as `shape` gives them; links: words to addresses, on top; chart: as `plot` gives it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        variable_start_string="[[",
        variable_end_string="]]",
        block_start_string="[%",
        block_end_string="%]",
    )
    story = {"links": links, "events": events, "chart": chart, "ledger": ledger}
    return environment.get_template("page.html").render(title=title, pulls=pulls, **story)


def plot(weeks: Sequence[Json], bar: float, events: Sequence[Event], what: str, lowest: float = 0) -> dict[str, Any]:
    """Where the chart of live quality has what: weeks as the bake's traffic.py tells them, the bar, marked events.

    what: is measured, in words; lowest: the value at the foot of the chart, which ends at 1.
    """
    first = date.fromisoformat(weeks[0]["first"])
    span = timedelta(weeks=len(weeks))
    models = list(dict.fromkeys(model for week in weeks for model in week["models"]))

    def x(day: date) -> float:
        return round(LEFT + (WIDTH - LEFT - 8) * ((day - first) / span), 1)

    def y(value: float) -> float:
        return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (value - lowest) / (1 - lowest), 1)

    def drawn(week: Json) -> dict[str, Any]:
        begins = date.fromisoformat(week["first"])
        days = [(date.fromisoformat(day["day"]), day["value"]) for day in week["days"]]
        return {
            **{"said": week, "model": models.index(week["models"][0]), "x": x(begins)},
            **{"width": round(x(begins + timedelta(weeks=1)) - x(begins) - 1, 1), "y": y(week["value"])},
            **{"top": y(week["high"]), "height": round(y(week["low"]) - y(week["high"]), 1)},
            "days": [(x(day) + 3, y(value)) for day, value in days if value is not None],
        }

    levels = [lowest + (1 - lowest) * part / 4 for part in range(5)]
    placed: dict[float, int] = {}
    marks = []
    for number, event in enumerate(events, 1):
        if event.mark:
            row = placed[x(event.day)] = placed.get(x(event.day), -1) + 1
            marks.append({"number": number, "event": event, "x": x(event.day), "y": 12 + 19 * row})
    return {
        **{"width": WIDTH, "height": HEIGHT, "left": LEFT, "top": TOP, "bottom": HEIGHT - BOTTOM, "models": models},
        **{"what": what, "bar": (bar, y(bar)), "levels": [(f"{level:g}", y(level)) for level in levels]},
        **{"weeks": [drawn(week) for week in weeks], "marks": marks},
        "ticks": [(week["first"][5:], x(date.fromisoformat(week["first"]))) for week in weeks[::2]],
    }


def shape(each: Json) -> dict[str, Any]:
    """What was seen of a pull request, with what the page derives from it."""
    pull, checks = each["pull"], each["checks"]
    failing = sum(check["conclusion"] == "failure" for check in checks)
    return {
        **each,
        "state": "merged" if pull["merged"] else pull["state"],
        "files": [{**file, "lines": list(lines(file.get("patch") or ""))} for file in each["files"]],
        "checks": [
            {**check, "mark": MARKS.get(check["conclusion"], "•"), "seconds": seconds(check)} for check in checks
        ],
        "summary": f"{failing} of {len(checks)} checks failed" if failing else f"All {len(checks)} checks have passed",
        "failing": failing,
        "body": markdown(pull.get("body") or ""),
        "comments": [{**comment, "html": markdown(comment["body"])} for comment in each["comments"]],
        "reasons": [line for line in each["refusal"].splitlines() if line],
    }


def lines(patch: str) -> Iterator[tuple[str, str]]:
    """A patch's lines, each with its kind: added, removed, place, or context."""
    kinds = {"+": "added", "-": "removed", "@": "place"}
    for line in patch.splitlines():
        yield kinds.get(line[:1], "context"), line


def seconds(check: Json) -> int | None:
    """How long a check took; None where it did not run."""
    if check["conclusion"] == "skipped" or not (check["started_at"] and check["completed_at"]):
        return None
    begun, ended = (datetime.fromisoformat(check[at]) for at in ("started_at", "completed_at"))
    return round((ended - begun).total_seconds())


def markdown(text: str) -> Markup:
    """GitHub's Markdown as HTML; markup that is no part of a report is shown as it is written."""
    parser = MarkdownIt("commonmark", renderer_cls=Renderer).enable("table")
    return Markup(parser.render(text))


class Renderer(RendererHTML):
    """Passes a report's own HTML and nothing else; draws Mermaid."""

    def html_block(self, tokens: Any, index: int, options: Any, env: Any) -> str:
        """HTML on lines of its own."""
        return passing(tokens[index].content)

    def html_inline(self, tokens: Any, index: int, options: Any, env: Any) -> str:
        """HTML within a line."""
        return passing(tokens[index].content)

    def fence(self, tokens: Any, index: int, options: Any, env: Any) -> str:
        """A block of code, or the chart that it describes."""
        if tokens[index].info.strip() == "mermaid":
            with suppress(RuntimeError):  # what is no chart is shown as it is written
                return chart(tokens[index].content)
        return super().fence(tokens, index, options, env)

    def link_open(self, tokens: Any, index: int, options: Any, env: Any) -> str:
        """Nothing: a link into the forge leads nowhere once it has closed."""
        return ""

    link_close = link_open

    def image(self, tokens: Any, index: int, options: Any, env: Any) -> str:
        """Its words: the page asks nobody for anything."""
        return escape(tokens[index].content)


def passing(text: str) -> str:
    """HTML with the tags of a report kept, comments dropped, and everything else escaped."""
    parts = PASSES.split(text)  # every second one has matched
    return "".join(
        escape(part) if index % 2 == 0 else "" if part.startswith("<!--") else part for index, part in enumerate(parts)
    )


def chart(source: str) -> str:
    """Mermaid as an image, in light and in dark: an image's styles and ids are its own, and it runs no script."""
    light, dark = (image(source, theme) for theme in ("default", "dark"))
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(title(source))}"></picture>\n'
    )


def image(source: str, theme: str) -> str:
    """A data: address with the chart as SVG."""
    import mermaidx  # here: it brings an engine with it

    svg = mermaidx.render(source, theme=theme).svg()
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"


def title(source: str) -> str:
    """A chart's title, for those who do not see it."""
    found = re.search(r'title "([^"]*)"', source)
    return found[1] if found else "A chart"
