"""The page for people: what it serves, whom the server lets in, and an episode in headless Chromium."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from mldebug.cli import cli
from mldebug.env import Prepared, Services
from mldebug.env.adapters.openenv.guard import Guard
from mldebug.env.adapters.openenv.host import Host, Settings, TaskLists, names_of
from mldebug.env.adapters.openenv.page_route import FILES, FOLDER
from mldebug.env.adapters.openenv.server import Connection
from mldebug.env.tools.base import toolbox
from mldebug.errors import UsageError
from mldebug.grader.runner import Pool
from mldebug.mutators.base import bug_classes

from ...written import rows, task
from .openenv_serving import CRASHES, SILENT, ask, host_of, prepared, raw, serving, started, wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIZES = ((1280, 900), (390, 844))
SCHEMES = ("light", "dark")
OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"
HOSTILE = "<img src=x onerror=alert(1)></pre><script>document.title='owned'</script>"
SEEN_HOSTILE = {"data": {"message": HOSTILE}, "type": "error"}


# What is served, and whom


@pytest.fixture(scope="module")
def host(pool: Pool) -> Host:
    """Two tasks, of which one has an alert that wants to be markup; two steps."""
    found = [prepared(CRASHES), Prepared(task(SILENT), f"Alert {HOSTILE}\u202e")]
    settings = Settings(budget=2, sessions=3, names=("debug.example.org",))
    return Host(settings, services=Services(found, pool=pool), lists=TaskLists({"train": found}))


@pytest.fixture(scope="module")
def url(host: Host) -> Iterator[str]:
    with serving(host) as address:
        yield address


def place_of(name: str) -> str:
    return str(sorted(rows()[one]["id"] for one in (CRASHES, SILENT)).index(rows()[name]["id"]))


@pytest.mark.parametrize("path", FILES)
def test_the_files_are_the_same_for_everybody(url: str, path: str) -> None:
    name, kind = FILES[path]
    with httpx.Client(trust_env=False) as client:
        answer = client.get(url + path)
        assert (
            client.get(f"{url}{path}?task=1", headers={"host": "elsewhere.example"}).content == answer.content
        )
        assert client.head(url + path).headers["content-length"] == str(len(answer.content))
        assert client.get(url + path, headers={"origin": "http://elsewhere.example"}).status_code == 403
        assert client.get(f"{url}/{name}/../guard.py").status_code == 404
    assert answer.content == (FOLDER / name).read_bytes()
    assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
    policy = dict(one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_files_need_nothing_else_and_know_nothing() -> None:
    texts = {name: (FOLDER / name).read_text("utf-8") for name, _ in FILES.values()}
    assert {one.name for one in FOLDER.iterdir()} == set(texts)
    for name, text in texts.items():
        assert not re.search(r"https?://|//[\w-]+\.\w|@import|url\(", text), name
        known = [*bug_classes(), *(row["id"] for row in rows().values())]
        assert not any(one in text for one in known), name
    assert not re.search(r"<script(?! src=)|<style|\sstyle=|\son\w+=", texts["play.html"])
    assert not re.search(r"HTML|document\.write|\beval\(|Function\(|setTimeout\(['\"]", texts["play.js"])


@pytest.mark.parametrize(
    ("headers", "let_in"),
    [
        ({"host": "127.0.0.1:8000"}, True),
        ({"host": "anything.example"}, True),
        ({}, True),
        ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8000"}, True),
        ({"host": "localhost:8000", "origin": "http://localhost:8000"}, True),
        ({"host": "[::1]:8000", "origin": "http://[::1]:8000"}, True),
        ({"host": "192.0.2.7:8000", "origin": "http://192.0.2.7:8000"}, True),
        ({"host": "debug.example.org", "origin": "https://debug.example.org"}, True),
        ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:8001"}, False),
        ({"host": "127.0.0.1:8000", "origin": "http://localhost:8000"}, False),
        ({"host": "127.0.0.1:8000", "origin": "http://elsewhere.example"}, False),
        ({"host": "127.0.0.1:8000", "origin": "null"}, False),
        ({"host": "127.0.0.1:8000", "origin": ""}, False),
        ({"host": "127.0.0.1:8000", "origin": "file://127.0.0.1:8000"}, False),
        ({"host": "127.0.0.1:8000", "origin": "http://[::1"}, False),
        ({"origin": "http://127.0.0.1:8000"}, False),
        # a name that its owner made to lead here: to a browser that page and this server are one site
        ({"host": "elsewhere.example:8000", "origin": "http://elsewhere.example:8000"}, False),
        ({"host": "localhost.elsewhere.example", "origin": "http://localhost.elsewhere.example"}, False),
        ({"host": "127.0.0.1.elsewhere.example", "origin": "http://127.0.0.1.elsewhere.example"}, False),
        ({"host": "127.0.0.1@elsewhere.example", "origin": "http://127.0.0.1@elsewhere.example"}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_who_names_an_origin_must_be_our_own_page(headers: dict[str, str], let_in: bool, kind: str) -> None:
    reached, answers = list[str](), list[dict[str, Any]]()

    async def app(scope: Any, _: Any, __: Any) -> None:
        reached.append(scope["type"])

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        answers.append(message)

    scope: dict[str, Any] = {"type": kind, "path": "/ws", "method": "GET", "query_string": b""}
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(Guard(app, ("debug.example.org",))(scope, receive, send))
    assert reached == [kind] * let_in
    refusal = {"http": {"status": 403}, "websocket": {"type": "websocket.close", "code": 1008}}[kind]
    assert let_in or refusal.items() <= answers[0].items()


def test_two_origins_are_one_too_many() -> None:
    headers = [(b"host", b"127.0.0.1"), (b"origin", b"http://127.0.0.1")]
    guard = Guard(lambda *_: pytest.fail("let in"), ())
    assert not guard._foreign({"headers": headers})
    assert guard._foreign({"headers": [*headers, (b"origin", b"http://elsewhere.example")]})
    assert guard._foreign({"headers": [*headers, (b"host", b"elsewhere.example")]})


def test_names_of_hosts() -> None:
    assert names_of(["Debug.Example.org", "box"]) == ("debug.example.org", "box")
    for wrong in ("", "http://a.example", "a.example:80", "*", "-a", "a b", "a" * 300):
        with pytest.raises(UsageError, match="the name of a host alone"):
            names_of([wrong])
    answer = CliRunner().invoke(cli, ["serve"], env={"MLDEBUG_SERVE_NAMES": "https://a.example"})
    assert isinstance(answer.exception, UsageError)


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on the PATH")
    with playwright.sync_playwright() as running:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = running.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


@contextmanager
def opened(
    browser: Any, url: str, size: tuple[int, int] = SIZES[0], scheme: str = "light", **said: Any
) -> Iterator[Any]:
    """The page; an error if anything happens in it that should not.

    said: `hears` and `offer`, instead of the server's answers to messages and of what it offers.
    """
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(120_000)
    wrong = list[str]()
    allowed = {f"{url}{path}" for path in FILES} | {f"{url}/tasks?count=0", "data:,"}
    page.on("console", lambda one: wrong.append(f"console: {one.text}"))
    page.on("pageerror", lambda one: wrong.append(f"error: {one}"))
    page.on("dialog", lambda one: wrong.append(f"dialog: {one.message}"))
    page.on("request", lambda one: one.url in allowed or wrong.append(f"request: {one.url}"))
    page.on("websocket", lambda one: one.url == f"{url}/ws".replace("http", "ws") or wrong.append(one.url))
    if "offer" in said:
        page.route("**/tasks?count=0", lambda route: route.fulfill(json=said["offer"]))
    if "hears" in said:
        page.route_web_socket(
            re.compile("/ws$"), lambda one: one.on_message(lambda text: said["hears"](one, text))
        )
    page.goto(f"{url}/play")
    yield page
    assert page.title() == "mldebug: an episode"
    context.close()
    assert wrong == []


def start(page: Any, name: str = CRASHES) -> None:
    page.get_by_role("spinbutton", name="Number").fill(place_of(name))
    page.get_by_role("button", name="Start").click()
    page.get_by_text("0 of 2 steps spent").wait_for()


def use(page: Any, tool: str, **arguments: str) -> Any:
    """The observation, as an element."""
    page.get_by_role("combobox", name="Tool").select_option(tool)
    for name, value in arguments.items():
        page.locator(f"#parameters [data-name={name}]").fill(value)
    before = page.locator("#log article").count()
    page.get_by_role("button", name="Use it").click()
    page.locator("#log article").nth(before).wait_for()
    return page.locator("#log article").first


@pytest.mark.parametrize(("size", "scheme"), [*zip(SIZES, SCHEMES, strict=True)])
def test_a_person_plays_to_the_reward(
    browser: Any, url: str, host: Host, size: tuple[int, int], scheme: str
) -> None:
    row = rows()[CRASHES]
    with opened(browser, url, size, scheme) as page:
        sent, heard = list[dict[str, Any]](), list[dict[str, Any]]()

        def listen(socket: Any) -> None:
            socket.on("framesent", lambda text: sent.append(json.loads(text)))
            socket.on("framereceived", lambda text: heard.append(json.loads(text)))

        page.on("websocket", listen)
        assert host.open == 0  # whoever looks at the page takes no session
        assert page.evaluate(OVERFLOW) == 0
        start(page)
        assert page.locator("#alert-text").inner_text() == row["alert"]
        entry = use(page, "view_source")
        assert entry.locator("pre").text_content() == row["files"]["train.py"]
        assert entry.locator("pre").evaluate("one => one.scrollHeight > one.clientHeight")
        entry.get_by_role("button", name="Edit it in the fix").click()
        text = page.get_by_role("textbox", name="Its text")
        assert text.input_value() == row["files"]["train.py"]
        text.fill(row["reference"]["train.py"])
        page.locator("#claimed").get_by_label("shape_mismatch").check()
        page.get_by_label("Diagnosis").fill("The model's input width is that of another axis.")
        assert page.evaluate(OVERFLOW) == 0
        page.get_by_role("button", name="Hand in").click()
        page.get_by_role("heading", name="Solved", exact=True).wait_for()
        assert float(page.locator("#reward").inner_text()) >= 0.99 * 1.2
        assert "incident is closed" in page.locator("#verdict").inner_text()
        assert page.evaluate("document.activeElement.id") == "result-title"
        assert page.evaluate(OVERFLOW) == 0
        wait_for(lambda: host.open == 0)
        start(page)  # and once more
        assert page.locator("#log article").count() == 1 and page.locator("#result").is_hidden()
        assert text.input_value() == row["reference"]["train.py"]  # what a person wrote is kept
        page.get_by_role("button", name="Undo all changes").click()
        assert text.input_value() == row["files"]["train.py"]
    assert [one["type"] for one in sent] == ["reset", "step", "step", "reset"]
    assert sent[0]["data"] == {"split": "train", "index": int(place_of(CRASHES))}
    assert sent[2]["data"]["files"] == row["reference"]
    assert float(f"{heard[2]['data']['reward']:.3f}") >= 0.99 * 1.2
    wait_for(lambda: host.open == 0)


def test_a_wrong_fix_shows_its_low_reward(browser: Any, url: str) -> None:
    row = rows()[CRASHES]
    with opened(browser, url) as page:
        page.get_by_label("by a seed").check()
        page.get_by_role("spinbutton", name="Seed").fill("4")
        page.locator("#asked").get_by_label("shape_mismatch").check()
        page.get_by_role("button", name="Start").click()
        use(page, "view_source").get_by_role("button", name="Edit it in the fix").click()
        page.get_by_role("textbox", name="Its text").fill(row["files"]["train.py"] + "print('fixed')\n")
        hand_in = page.get_by_role("button", name="Hand in")
        hand_in.click()
        assert "Say which classes" in page.get_by_role("alert").inner_text()  # which costs no step
        page.locator("#claimed").get_by_label("shape_mismatch").check()
        hand_in.click()
        page.get_by_role("heading", name="Not solved").wait_for()
        assert page.locator("#reward").inner_text() == "0.200"
        assert "2 of 2 steps" in page.locator("#spent").inner_text()


def test_hostile_text_is_shown_as_text(browser: Any, url: str) -> None:
    with opened(browser, url) as page:
        start(page, SILENT)
        alert = page.locator("#alert-text")
        assert alert.text_content() == f"Alert {HOSTILE}⟨U+202E⟩"
        entry = use(page, "rewrite", path="note.py", text=f"'''{HOSTILE}'''\n")
        assert HOSTILE in entry.inner_text()
        entry = use(page, "view_source")
        assert HOSTILE in entry.inner_text()
        assert page.locator("main img, main script").count() == 0


def test_the_editor_gets_files_as_they_are(browser: Any, pool: Pool) -> None:
    name = "shape-glyph-1"
    files = rows()[name]["files"]
    with serving(host_of(pool, (name,), budget=2)) as url, opened(browser, url) as page:
        text, path = page.get_by_role("textbox", name="Its text"), page.get_by_role("combobox", name="File")
        page.get_by_role("button", name="Start").click()
        page.get_by_text("0 of 2 steps spent").wait_for()
        use(page, "view", path="model.py").get_by_role("button", name="Edit it").click()
        assert text.input_value() == files["model.py"]
        page.locator("[name=kind][value=copy]").check()
        page.get_by_role("textbox", name="Its text").wait_for(state="hidden")
        cut = use(page, "view", path="model.py", start="2")  # the last step
        assert cut.get_by_role("button").count() == 0
        page.get_by_role("heading", name="Not solved").wait_for()
        page.get_by_role("button", name="Start").click()
        page.get_by_text("0 of 2 steps spent").wait_for()
        use(page, "view_source").get_by_role("button", name="Edit it").click()
        assert path.locator("option").all_inner_texts() == sorted(files)
        for one in files:
            path.select_option(one)
            assert text.input_value() == files[one]
        assert page.get_by_text("Nothing is changed yet.").is_visible()


def test_foreign_pages_are_refused(browser: Any, url: str, pool: Pool) -> None:
    connects = """url => new Promise(done => {
        const one = new WebSocket(url);
        one.onopen = () => (done("opened"), one.close());
        one.onclose = () => done("refused");
    })"""
    address = url.replace("http", "ws") + "/ws"
    with serving(host_of(pool)) as other:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{url}/health")
        assert page.evaluate(connects, address) == "opened"
        page.goto(f"{other}/health")
        assert page.evaluate(connects, address) == "refused"
        context.close()


def test_what_goes_wrong_with_the_connection_is_told(browser: Any, pool: Pool) -> None:
    host = host_of(pool, (CRASHES,), sessions=1, budget=2)
    with started(host) as (url, server), opened(browser, url) as page:
        begin, notice = page.get_by_role("button", name="Start"), page.get_by_role("alert")
        with raw(url) as other:
            ask(other, "reset", {"seed": 0})
            begin.click()
            notice.get_by_text("capacity").wait_for()
        wait_for(lambda: host.open == 0)
        begin.click()
        page.get_by_text("0 of 2 steps spent").wait_for()
        assert notice.is_hidden() and begin.is_hidden()
        (connection,) = (one for one in server.server_state.connections if isinstance(one, Connection))
        connection.loop.call_soon_threadsafe(connection.transport.abort)
        notice.get_by_text("connection to the server was lost").wait_for()
        wait_for(lambda: host.open == 0)
        begin.click()
        page.get_by_text("0 of 2 steps spent").wait_for()
        page.get_by_role("button", name="Leave").click()
        wait_for(lambda: host.open == 0)
        assert begin.is_visible()


OBSERVATION = {
    "text": "x" * 300 + "\n" + HOSTILE * 50,
    "alert": HOSTILE,
    "task": HOSTILE,
    "entrypoint": "train.py",
    "step": 0,
    "budget": 9,
    "tools": [],
    "refused": False,
}


def parameter(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "description": HOSTILE, **more}


ODD = {
    "name": HOSTILE,
    "description": HOSTILE,
    "parameters": {
        "type": "object",
        "required": ["one"],
        "properties": {
            "one": parameter("array", items={"type": "string"}),
            "two": parameter("boolean", default=False),
            "three": parameter("integer", default=3),
            "four": parameter("object"),
        },
    },
}


@pytest.mark.parametrize("size", SIZES)
def test_forms_come_from_the_schemas_and_can_be_reached(
    browser: Any, url: str, size: tuple[int, int]
) -> None:
    sent = list[dict[str, Any]]()

    def hears(socket: Any, text: str) -> None:
        sent.append(json.loads(text))
        seen = OBSERVATION | {"step": len(sent) - 1}
        odd = len(sent) == 3
        socket.send(
            json.dumps(SEEN_HOSTILE if odd else {"type": "observation", "data": {"observation": seen}})
        )

    offer = {"splits": [], "bugs": ["a_class"], "tools": [ODD, *toolbox().schemas()]}
    with opened(browser, url, size, "dark", hears=hears, offer=offer) as page:
        page.get_by_role("button", name="Start").click()
        page.get_by_text("0 of 9 steps spent").wait_for()
        for at, schema in enumerate(offer["tools"]):
            page.get_by_role("combobox", name="Tool").select_option(index=at)
            fields = page.locator("#parameters [data-name]")
            names = fields.evaluate_all(
                "all => all.map(one => [one.dataset.name, one.dataset.needed === 'yes'])"
            )
            needed = schema["parameters"]["required"]
            assert names == [[name, name in needed] for name in schema["parameters"]["properties"]]
        assert page.evaluate(
            "[...document.querySelectorAll('input, select, textarea')].every(one => one.labels.length > 0)"
        )
        page.get_by_role("combobox", name="Tool").select_option(index=0)
        page.locator("[data-name=one]").fill("b 40\n\nc\n")
        page.locator("[data-name=two]").select_option("true")
        page.locator("[data-name=four]").fill('{"a": [1]}')
        page.locator("[data-name=four]").press("Control+Enter")
        page.get_by_text("1 of 9 steps spent").wait_for()
        assert sent[1]["data"]["arguments"] == {"one": ["b 40", "c"], "two": True, "four": {"a": [1]}}
        page.locator("[data-name=three]").fill("7")
        page.locator("[data-name=three]").press("Enter")
        page.get_by_role("alert").get_by_text("The server says: <img").wait_for()
        assert sent[2]["data"]["arguments"]["three"] == 7
        page.locator("#tool").focus()
        reached = set[str]()
        for _ in range(30):
            reached.add(
                page.evaluate("document.activeElement.id || document.activeElement.textContent.slice(0, 6)")
            )
            page.keyboard.press("Tab")
        assert {"tool", "Use it", "path", "add", "diagnosis", "Hand i"} <= reached
        assert page.evaluate(OVERFLOW) == 0
        assert page.locator("main img, main script").count() == 0
