"""What watches the service: rules, dashboard and manifests hold together, and the real Prometheus reads the service."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from deploy.monitoring import local, objectives
from pipeline import log, model, profile, tasks
from pipeline.params import BadInput
from pipeline.policy import load
from pipeline.reading import problems
from tests.browser import browser
from tests.tables import POLICIES, ROOT, write_policies
from tests.test_deploy import build
from tests.test_service import TIME, environment, row, wait_until, write_tiny_model

HERE, CASES = ROOT / "deploy" / "monitoring", ROOT / "tests" / "monitoring"
DASHBOARD = json.loads((HERE / "dashboard.json").read_text())
OBJECTIVES = yaml.safe_load((POLICIES / "service.yaml").read_text())["objectives"]
SCHEMA = ROOT / "policies" / "schemas" / "service.schema.json"


def manifests() -> dict[str, str]:
    """The PrometheusRules by the names of their files; that of the objectives is made for the unit tests' policy."""
    return {"rules.yaml": (HERE / "rules.yaml").read_text(), "objectives.yaml": objectives.manifest(OBJECTIVES)}


def rules() -> list[dict[str, Any]]:
    """All rules."""
    return [rule for text in manifests().values() for group in local.groups(text)["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"]}
QUERIES = [target["expr"] for panel in PANELS.values() for target in panel["targets"]]


def needs(*programs: str) -> None:
    """Skips where a program is missing; in CI of the template that fails."""
    for name in programs:
        if not shutil.which(name):
            pytest.skip(f"needs {name}")


# --- what is applied ---


def test_prometheus_finds_the_service() -> None:
    ours, base = build(HERE, known=False), build(ROOT / "deploy" / "base")
    assert ours.keys() == {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
    monitor, service = ours["ServiceMonitor"]["spec"], base["Service"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [each["port"] for each in monitor["endpoints"]] == [port["name"] for port in service["spec"]["ports"]]
    assert json.loads(ours["ConfigMap"]["data"]["dashboard.json"]) == DASHBOARD
    assert ours["ConfigMap"]["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_the_dashboard_is_one() -> None:
    places = [panel["gridPos"] for panel in PANELS.values()]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(PANELS) == len(DASHBOARD["panels"]) <= 12
    assert len({panel["id"] for panel in PANELS.values()}) == len(PANELS)
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    assert {panel["datasource"]["uid"] for panel in PANELS.values()} == {"${datasource}"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(PANELS))) - {"__rate_interval"} == variables
    page = (HERE / "page.html").read_text()
    assert all(re.search(rf"^function {panel['type']}\(", page, re.MULTILINE) for panel in PANELS.values())


def test_the_dashboard_shows_what_any_task_answers() -> None:
    (watched,) = {name for query in QUERIES for name in re.findall(r'column=~"(.*?)"', query)}
    assert set(watched.split("|")) == {tasks.task(name).WATCHED for name in tasks.NAMES}


# --- objectives ---


def test_the_objectives_are_those_of_the_policy(owned: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `make lint` finds."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["objectives", "--check"])
    objectives.main()


def test_other_objectives_ask_for_other_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_policies(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(objectives, "PLACE", tmp_path / "objectives.yaml")
    monkeypatch.setattr(sys, "argv", ["objectives"])
    objectives.main()
    monkeypatch.setattr(sys, "argv", ["objectives", "--check"])
    objectives.main()
    policy = tmp_path / "policies" / "service.yaml"
    policy.write_text(policy.read_text().replace("seconds: 0.25, share: 99", "seconds: 1, share: 97.5"))
    with pytest.raises(BadInput, match="make objectives"):
        objectives.main()
    made = objectives.manifest(load("service")["objectives"])
    assert 'le="1.0"' in made and "/ 0.025" in made and 'le="0.25"' not in made


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"availability": 90}, "objectives.availability"),
        ({"availability": 100}, "objectives.availability"),
        ({"latency": {"seconds": 0.3, "share": 99}}, "objectives.latency.seconds"),
    ],
)
def test_an_objective_that_no_alert_could_keep_is_refused(changed: Mapping[str, Any], said: str) -> None:
    """A budget of 10% never burns 14.4 times too fast, none burns at once, and latency is counted up to some bounds."""
    policy = yaml.safe_load((POLICIES / "service.yaml").read_text())
    assert problems(policy, SCHEMA) == []
    (found,) = problems(policy | {"objectives": OBJECTIVES | changed}, SCHEMA)
    assert said in found


def test_bounds_of_latency_are_those_that_are_counted() -> None:
    from pipeline.meters import LATENCY

    latency = json.loads(SCHEMA.read_text())["properties"]["objectives"]["properties"]["latency"]
    assert latency["properties"]["seconds"]["enum"] == list(LATENCY)


# --- alerts ---


def test_every_alert_fires_in_one_case_and_is_silent_in_another() -> None:
    tests = [test for path in sorted(CASES.glob("*.yaml")) for test in yaml.safe_load(path.read_text())["tests"]]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    for fires in (True, False):
        assert {case["alertname"] for case in cases if bool(case["exp_alerts"]) is fires} == ALERTS.keys()


def test_every_alert_says_how_urgent_it_is_and_what_to_do_first() -> None:
    assert local.runbook().keys() == ALERTS.keys()
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("page", "ticket") and rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["runbook"] == f"deploy/monitoring/README.md#{name.lower()}"


def test_a_runbook_names_panels_that_are_there() -> None:
    named = re.findall(r"(?<!\*)\*([A-Z].*?)\*", (HERE / "README.md").read_text())
    assert named and [name for name in named if not any(title.startswith(name) for title in PANELS)] == []


@pytest.mark.slow
@pytest.mark.parametrize("cases", sorted(CASES.glob("*.yaml")), ids=lambda path: path.stem)
def test_alerts_fire_and_are_silent_as_promtool_finds(tmp_path: Path, cases: Path) -> None:
    needs("promtool")
    for name, text in manifests().items():
        (tmp_path / name).write_text(yaml.safe_dump(local.groups(text)))
    shutil.copy(cases, tmp_path)
    for command in (["check", "rules", *manifests()], ["test", "rules", cases.name]):
        done = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_without_prometheus_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BadInput, match="apt-get install prometheus prometheus-alertmanager"), local.watching("x:1"):
        pass


# --- on the service as it runs ---


@contextmanager
def serving(work: Path, **variables: str) -> Iterator[str]:
    """The address of the service with the tiny model, a profile, and a drift check that saw a row of an hour ahead."""
    shutil.copytree(ROOT / "pipeline", work / "pipeline")
    write_policies(work)
    write_tiny_model(work / "model")
    halves = profile.Numbers(ends=[100.0], shares=[[0.5, 0.5, 0]] * 7)
    scores = profile.Numbers(ends=[0.5], shares=[[0.4, 0.6, 0]] * 7)
    known = profile.Profile(model=model.load(work / "model").digest, columns={"amount": halves, "_score": scores})
    (work / "reports").mkdir()
    (work / "reports" / "profile.json").write_text(known.model_dump_json())
    log.beat(log.Folder.at(str(work / "log")), True, datetime.now(UTC) + timedelta(hours=1))
    port = local.free_port()
    command = [sys.executable, "-m", "bentoml", "serve", "pipeline.service:Scorer", "--host", "127.0.0.1"]
    server = subprocess.Popen(
        [*command, "--port", str(port)],
        cwd=work,
        env=environment(work) | {"PREDICTION_LOG": str(work / "log"), "PREDICTION_LOG_SECONDS": "0.2"} | variables,
        stdout=(work / "output").open("w"),
        stderr=subprocess.STDOUT,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 200, server)
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


def until(found: Callable[[], Any], seconds: float = 40) -> None:
    """Waits until it is so."""
    end = monotonic() + seconds
    while not found():
        assert monotonic() < end, "it has not come to be"
        sleep(0.3)


class Watched(NamedTuple):
    """The service, those that watch it, and the page."""

    service: str
    watch: local.Watch
    page: str
    client: httpx.Client

    def ask(self, *rows: dict[str, Any]) -> int:
        """The status of the service's answer to these rows."""
        return self.client.post(f"{self.service}/predict", json={"rows": rows}).status_code

    def traffic(self) -> None:
        """Some rows, and a mistake of their caller's."""
        for asked in (*(row(str(number), amount=number) for number in range(20)), {}):
            until(partial(self.answered, asked))

    def answered(self, asked: dict[str, Any]) -> bool:
        """Whether this row was looked at: where this machine is busy, it is refused, and asked again."""
        status = self.ask(asked)
        assert status in (200 if asked else 400, 429)
        return status != 429

    def empty(self) -> set[str]:
        """The panels that have nothing to draw, by the page's way to Prometheus."""
        stands = {"$namespace": ".*", "$__rate_interval": "10s"}
        queries = [
            (title, re.sub(r"\$\w+", lambda name: stands[name[0]], target["expr"]))
            for title, panel in PANELS.items()
            for target in panel["targets"]
        ]
        asked = f"{self.page}/prometheus/api/v1/query"
        answers = {query: self.client.get(asked, params={"query": query}).json() for _, query in queries}
        return {title for title, query in queries if not answers[query]["data"]["result"]}

    def alerts(self) -> dict[str, str]:
        """The alerts that Prometheus knows of, and their states."""
        found = self.client.get(f"{self.page}/prometheus/api/v1/alerts").json()["data"]["alerts"]
        return {each["labels"]["alertname"]: each["state"] for each in found}

    def told(self) -> set[str]:
        """The alerts that Alertmanager would send."""
        found = self.client.get(f"{self.watch.alertmanager}/api/v2/alerts").json()
        return {each["labels"]["alertname"] for each in found if each["status"]["state"] == "active"}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The service, watched; by its environment it should be another model, and it has little patience."""
    needs("prometheus", "prometheus-alertmanager")
    said = {"PREDICT_WAIT": "0.001", "PROMOTED_MODEL": "sha256:another"}
    with (
        serving(tmp_path_factory.mktemp("watched"), **said) as url,
        local.watching(urlsplit(url).netloc, scrape=1) as watch,
        local.served(watch) as page,
        httpx.Client(timeout=30) as client,
    ):
        yield Watched(url, watch, page, client)


@pytest.mark.slow
def test_every_panel_has_something_to_draw_and_what_breaks_is_alerted(watched: Watched) -> None:
    until(lambda: watched.traffic() or watched.empty() == {"The prediction log"})  # which has lost nothing
    assert watched.alerts() == dict.fromkeys(("ScorerAnotherModel", "ScorerLogInTheFuture"), "pending")

    days = [str(date(2018, 1, 1) + timedelta(days=day)) for day in range(40)]
    watched.ask(*(row(day, **{TIME: day}) for day in days))  # of more days than a request may open
    crowd = [row(str(number)) for number in range(1000)]
    with ThreadPoolExecutor(32) as callers:
        assert 429 in set(callers.map(lambda _: watched.ask(*crowd), range(200)))

    until(lambda: {"ScorerLogRowsLost", "ScorerAvailabilityPage"} <= watched.told())
    until(lambda: watched.traffic() or not watched.empty())
    loaded = watched.client.get(f"{watched.watch.prometheus}/api/v1/rules").json()["data"]["groups"]
    states = [(rule["name"], rule["health"]) for group in loaded for rule in group["rules"]]
    assert len(states) == len(rules()) and {health for _, health in states} == {"ok"}


@pytest.mark.slow
def test_a_browser_draws_the_panels_and_the_alert(watched: Watched) -> None:
    program = browser()
    until(lambda: watched.traffic() or "ScorerAnotherModel" in watched.alerts())
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", "--dump-dom")
    done = subprocess.run([program, *options, watched.page], capture_output=True, text=True, timeout=60)
    page = done.stdout.partition("<script>")[0]
    assert all(f">{title.replace('&', '&amp;')}</h2>" in page for title in PANELS)
    assert "none bad" not in page and page.count("<svg") >= 3 and 'class="bars"' in page
    assert "ScorerAnotherModel" in page and "First: Look at Which model answers." in page
    assert len(re.findall(r"sha256:\w{12}…", page)) == 1 and "no, or not known" in page
    assert not re.search(r'(src|href)="(?!/)', page)
