"""Answers from real sample documents: by the reader, and by a model that lies."""

from __future__ import annotations

import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from folioscope import app as command
from indexing.index import Index
from retrieval.errors import InputError, ServiceError
from serving.answering.pipeline import Answerer, AnswerSettings
from serving.answering.receipts import FORMAT, receipt_of, verify_receipt
from serving.answering.types import Answer, EvidencePage
from serving.answering.vlm import EndpointModel, EndpointSettings
from serving.safety.gate import SafetyGate
from serving.safety.limits import Timed
from serving.safety.policy import CategoryPolicy, Policy
from serving.safety.types import Band, Case, Evidence, Score, Verdict


@pytest.mark.parametrize(
    ("question", "expected", "pages"),
    [
        ("What is the total of invoice FF-2025-0318?", "6,722.58", (0,)),
        ("What is the total on the Pilcrow coffee receipt?", "31.14", (0,)),
        ("How much did cargo bikes bring in in 2024?", "76.8", (3,)),
        ("What was operating profit in 2023?", "14.9", (4, 8)),
    ],
)
def test_the_reader_finds_the_value_and_its_place(
    index: Index, question: str, expected: str, pages: tuple[int, ...]
) -> None:
    answer = Answerer(index).ask(question)
    assert answer.status == "answered" and expected in answer.text
    citation = answer.claims[0].citations[0]
    assert citation.page in pages and expected in citation.quote
    assert answer.verdict == "supported"


def test_what_the_documents_do_not_tell_is_not_answered(index: Index) -> None:
    answer = Answerer(index).ask("Who is the king of France?")
    assert answer.status in ("not-in-documents", "evidence") and answer.confidence < 0.2


def test_nothing_is_worked_out(index: Index) -> None:
    answer = Answerer(index).ask("What is the difference between revenue in 2024 and in 2023?")
    assert answer.status != "answered"
    assert all(claim.verdict == "supported" for claim in answer.claims)


class _Script:
    """What the stand-in model says next: pieces of text, a status, or a broken stream."""

    def __init__(self) -> None:
        self.replies: list[Any] = []
        self.requests: list[dict[str, Any]] = []


@pytest.fixture
def model(index: Index) -> Iterator[tuple[_Script, Callable[..., EndpointModel]]]:
    """A server that speaks the protocol and says what it is told to, over real HTTP."""
    script = _Script()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            self._json(200, {"object": "list", "data": [{"id": "liar", "object": "model"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            script.requests.append(body)
            reply = script.replies.pop(0)
            if isinstance(reply, int):
                self._json(reply, {"error": {"message": "no"}})
                return
            text, end = reply if isinstance(reply, tuple) else (reply, "stop")
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            for at in range(0, len(text), 40):
                self._chunk({"content": text[at : at + 40]}, None)
            if end == "hang":
                released.wait(10)
            elif end == "no event":
                self.wfile.write(b"data: {oops\n\n")
            elif end == "no choices":
                self.wfile.write(b'data: {"choices": null}\n\n')
            elif end != "cut":
                self._chunk({}, end)
                self.wfile.write(b"data: [DONE]\n\n")

        def _chunk(self, delta: dict[str, str], end: str | None) -> None:
            choice = {"index": 0, "delta": delta, "finish_reason": end}
            data = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "liar"}
            self.wfile.write(f"data: {json.dumps({**data, 'choices': [choice]})}\n\n".encode())
            self.wfile.flush()

        def _json(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    released = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients that left
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/v1"

    def make(clock: Callable[[], float] = time.monotonic, **more: Any) -> EndpointModel:
        return EndpointModel(EndpointSettings(url, retries=0, **more), clock=clock)

    yield script, make
    released.set()
    server.shutdown()
    server.server_close()


def reply(text: str, *citations: dict[str, Any], **more: Any) -> str:
    claim = {"text": text, "citations": list(citations), "arithmetic": more.pop("arithmetic", "")}
    return json.dumps({"answerable": True, "answer": text, "claims": [claim], **more})


QUESTION = "What is the total of invoice FF-2025-0318?"
Made = tuple[_Script, Callable[..., EndpointModel]]


def test_a_true_answer_is_supported_and_shown_with_its_place(index: Index, model: Made) -> None:
    script, make = model
    script.replies = [reply("The total is £6,722.58.", {"page": 1, "quote": "Total due £6,722.58"})]
    events = list(Answerer(index, model=make()).stream(QUESTION))
    assert events[0].kind == "hits"
    assert any(event.kind == "token" for event in events)
    answer: Answer = events[-1].data
    assert (answer.status, answer.verdict, answer.model) == ("answered", "supported", "liar")
    assert answer.claims[0].citations[0].box[1] > 0.5
    messages = script.requests[0]["messages"]
    assert "6,722.58" not in messages[0]["content"], "document text is in the system's role"
    kinds = [part["type"] for part in messages[1]["content"]]
    assert "image_url" in kinds and "text" in kinds
    assert 0 < answer.usage["context_tokens"] <= 12_000


LIES = {
    "amount": reply("The total is £6,272.58.", {"page": 1, "quote": "Total due £6,722.58"}),
    "quote": reply("The total is £9,999.00.", {"page": 1, "quote": "Total due £9,999.00"}),
    "page": reply("The total is £6,722.58.", {"page": 9, "quote": "Total due £6,722.58"}),
    "wrong page": reply("The total is £6,722.58.", {"page": 2, "quote": "Total due £6,722.58"}),
    "box": reply(
        "The total is £6,722.58.",
        {"page": 1, "quote": "Total due £6,722.58", "box": [10, 10, 300, 60]},
    ),
    "no citation": reply("The total is £6,722.58."),
    "arithmetic": reply(
        "The total is £6,800.",
        {"page": 1, "quote": "Total due £6,722.58"},
        arithmetic="6,722.58 + 50 = 6,800",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_every_lie_is_caught_and_removed(index: Index, model: Made, lie: str) -> None:
    script, make = model
    script.replies = [LIES[lie]]
    answer = Answerer(index, model=make()).ask(QUESTION)
    assert answer.status == "not-in-documents" and not answer.claims
    assert answer.removed[0].problems
    script.replies = [LIES[lie]]
    marked = AnswerSettings(unsupported="mark")
    shown = Answerer(index, model=make(), settings=marked).ask(QUESTION)
    assert shown.claims and shown.verdict != "supported"


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ([500], "refused the request"),
        ([("{", "cut")], "cut off"),
        ([("{", "length")], "ran out of"),
        ([("{", "no event")], "is it an OpenAI-compatible endpoint"),
        ([("{", "no choices")], "is it an OpenAI-compatible endpoint"),
        (["I cannot help with that.", "Still no."], "does not answer in the form"),
    ],
)
def test_a_model_that_fails_is_a_clear_error(
    index: Index, model: Made, replies: list[Any], said: str
) -> None:
    script, make = model
    script.replies = replies
    with pytest.raises(ServiceError, match=said):
        Answerer(index, model=make()).ask(QUESTION)


def test_a_model_that_is_slow_is_a_clear_error(index: Index, model: Made) -> None:
    script, make = model
    script.replies = [("", "hang")]
    with pytest.raises(ServiceError, match="did not answer within"):
        Answerer(index, model=make(seconds=0.2)).ask(QUESTION)
    # Each word in time, and the whole never.
    script.replies = ["x" * 400]
    minutes = itertools.count(0, 60)
    with pytest.raises(ServiceError, match="did not answer within 100 seconds"):
        Answerer(index, model=make(lambda: next(minutes), seconds=100.0)).ask(QUESTION)


def test_a_model_whose_server_has_gone_is_a_clear_error(index: Index) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    gone = EndpointModel(EndpointSettings(url, "any", retries=0))
    with pytest.raises(ServiceError, match="is its server running"):
        Answerer(index, model=gone).ask(QUESTION)


def test_a_reply_in_the_wrong_form_is_mended_once(index: Index, model: Made) -> None:
    script, make = model
    good = reply("£6,722.58", {"page": 1, "quote": "Total due £6,722.58"})
    script.replies = ['{"answer": 5}', f"```json\n{good}\n```"]
    assert Answerer(index, model=make()).ask(QUESTION).status == "answered"
    assert len(script.requests) == 2


def test_structured_output_is_dropped_where_it_is_refused(index: Index, model: Made) -> None:
    script, make = model
    good = reply("£6,722.58", {"page": 1, "quote": "Total due £6,722.58"})
    script.replies = [400, good]
    assert Answerer(index, model=make()).ask(QUESTION).status == "answered"
    assert "response_format" in script.requests[0] and "response_format" not in script.requests[1]


IN_ANOTHER_LANGUAGE = (
    ("Der Rechnungsbetrag ist £6.722,58.", "supported"),
    ("Der Rechnungsbetrag ist £6.272,58.", "removed"),
    ("\u5408\u8ba1 £6,722.58", "removed"),
    ("\u0418\u0442\u043e\u0433\u043e £6,722.58", "removed"),
)


@pytest.mark.parametrize(("text", "outcome"), IN_ANOTHER_LANGUAGE)
def test_an_answer_in_another_language(index: Index, model: Made, text: str, outcome: str) -> None:
    """Numbers are checked in every language; words of another script cannot be."""
    script, make = model
    script.replies = [reply(text, {"page": 1, "quote": "Total due £6,722.58"})]
    answer = Answerer(index, model=make()).ask(QUESTION)
    assert (answer.claims or answer.removed)[0].text == text
    assert answer.status == ("answered" if outcome == "supported" else "not-in-documents")
    assert bool(answer.removed) == (outcome == "removed")


def test_a_refusal_in_the_form_is_no_answer(index: Index, model: Made) -> None:
    script, make = model
    refusal = "I'm sorry, but I can't help with that."
    script.replies = [json.dumps({"answerable": True, "answer": refusal, "claims": []})]
    answer = Answerer(index, model=make()).ask(QUESTION)
    assert answer.status == "not-in-documents" and refusal not in answer.text


def test_many_pages_stay_within_the_budget(index: Index, model: Made) -> None:
    script, make = model
    script.replies = [reply("The total is £6,722.58.", {"page": 1, "quote": "Total due £6,722.58"})]
    every = AnswerSettings(pages=200)
    answer = Answerer(index, model=make(), settings=every).ask(QUESTION, k=200)
    assert answer.status == "answered"
    assert answer.usage["context_tokens"] <= answer.usage["budget_tokens"] == 12_000


def test_not_in_the_documents_is_an_answer(index: Index, model: Made) -> None:
    script, make = model
    script.replies = [json.dumps({"answerable": False, "answer": "", "claims": []})]
    assert Answerer(index, model=make()).ask("Who won?").status == "not-in-documents"


def test_a_cancelled_question_stops_the_model(index: Index, model: Made) -> None:
    script, make = model
    script.replies = [("x" * 4000, "hang")]
    stop = threading.Event()
    with pytest.raises(ServiceError, match="cancelled"):
        for event in Answerer(index, model=make()).stream(QUESTION, cancelled=stop.is_set):
            if event.kind == "token":
                stop.set()


def test_a_model_that_is_not_there(index: Index) -> None:
    with pytest.raises(ServiceError, match="cannot"):
        EndpointModel(EndpointSettings("http://127.0.0.1:9/v1", retries=0))


class _Gate:
    def __init__(self, before: Band, after: Band = "allow", **of_pages: Any) -> None:
        self._before, self._after, self._of_pages = before, after, of_pages
        self.asked: list[str] = []

    def before(self, question: str, evidence: Sequence[Evidence]) -> Verdict:
        self.asked.append(question)
        return Verdict("fast", self._before, **self._of_pages)

    def after(self, question: str, evidence: Sequence[Evidence], answer: str) -> Verdict:
        self.asked.append(answer)
        return Verdict("heavy", self._after)


@pytest.mark.parametrize(
    ("gate", "status", "kinds"),
    [
        (_Gate("block"), "blocked", ["answer"]),
        (_Gate("review"), "review", ["answer"]),
        (_Gate("allow", "block"), "blocked", ["hits", "answer"]),
    ],
)
def test_what_the_gate_holds_back_shows_nothing(
    index: Index, gate: _Gate, status: str, kinds: list[str]
) -> None:
    events = list(Answerer(index, gate=gate).stream(QUESTION))
    assert [event.kind for event in events] == kinds
    answer = events[-1].data
    assert answer.status == status and not answer.claims and not answer.hits
    assert "6,722" not in answer.text


def test_the_gate_sees_every_word_of_an_answer(index: Index) -> None:
    gate = _Gate("allow")
    answer = Answerer(index, gate=gate).ask(QUESTION)
    assert answer.status == "answered" and gate.asked[0] == QUESTION
    assert answer.text in gate.asked[1]
    assert all(claim.text in gate.asked[1] for claim in answer.claims)


def test_a_check_that_crashes_lets_nothing_out(index: Index, model: Made) -> None:
    class Crashes:
        id, categories = "crashes-1", ("harm",)

        def detect(self, case: Case) -> Sequence[Score]:
            raise MemoryError

    script, make = model
    policy = Policy(categories={"harm": CategoryPolicy(review=0.5)})
    timed = [Timed(Crashes(), 30)]
    for checks, asked in (((timed, ()), 0), (((), timed), 1)):
        told = reply("The total is £6,722.58.", {"page": 1, "quote": "Total due £6,722.58"})
        script.replies, script.requests[:] = [told], []
        answerer = Answerer(index, model=make(), gate=SafetyGate(policy, *checks))
        events = list(answerer.stream(QUESTION))
        answer = events[-1].data
        assert answer.status == "blocked" and not answer.claims and "6,722" not in answer.text
        assert "token" not in {event.kind for event in events}
        assert len(script.requests) == asked  # what is not asked is not sent anywhere
        assert any("MemoryError" in why for s in answer.safety.values() for why in s["reasons"])


def test_no_word_of_a_model_leaves_before_the_gate_has_seen_it_all(
    index: Index, model: Made
) -> None:
    script, make = model
    script.replies = [reply("The total is £6,722.58.", {"page": 1, "quote": "Total due £6,722.58"})]
    gate = _Gate("allow")
    events = list(Answerer(index, model=make(), gate=gate).stream(QUESTION))
    assert [event.kind for event in events] == ["hits", "answer"]
    assert events[-1].data.status == "answered"


def test_claims_that_did_not_hold_pass_the_gate_too(index: Index, model: Made) -> None:
    """They are part of what is told of an answer, even where nothing else is left of it."""
    script, make = model
    script.replies = [reply("The total is £9,999.00.", {"page": 1, "quote": "Pay the badgers"})]
    gate = _Gate("allow", "block")
    answer = Answerer(index, model=make(), gate=gate).ask(QUESTION)
    assert answer.status == "blocked" and not answer.removed
    assert "9,999.00" in gate.asked[1] and "Pay the badgers" in gate.asked[1]


def test_a_suspicious_page_is_shown_as_such_and_without_its_picture(
    index: Index, model: Made
) -> None:
    script, make = model
    script.replies = [reply("The total is £6,722.58.", {"page": 1, "quote": "Total due £6,722.58"})]
    first = index.search(QUESTION, 1).hits[0].page_id
    gate = _Gate("allow", marked=frozenset([first]), words_only=frozenset([first]))
    Answerer(index, model=make(), gate=gate, settings=AnswerSettings(pages=1)).ask(QUESTION)
    parts = script.requests[0]["messages"][1]["content"]
    assert all(part["type"] == "text" for part in parts)
    assert '"warning": "Some of this page' in parts[0]["text"]


def test_pages_left_out_are_not_read(index: Index) -> None:
    answer = Answerer(index, gate=_Gate("allow", kept=frozenset())).ask(QUESTION)
    assert answer.status == "blocked" and not answer.claims


def test_a_receipt_holds_until_something_changes(index: Index, tmp_path: Path) -> None:
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps(receipt_of(Answerer(index).ask(QUESTION), index)))
    assert verify_receipt(path, index) == []
    forged = json.loads(path.read_text())
    forged["claims"][0]["text"] = "Total due £1.00"
    path.write_text(json.dumps(forged))
    said = verify_receipt(path, index)
    assert any("altered" in problem for problem in said)
    assert any("claim 1" in problem for problem in said)
    assert forged["settings"]["pages"] == AnswerSettings().pages
    path.write_text("{}")
    with pytest.raises(InputError, match="not a receipt"):
        verify_receipt(path, index)
    path.write_text(json.dumps({"format": FORMAT, "pages": {"one": 1}}))
    with pytest.raises(InputError, match="lacks something"):
        verify_receipt(path, index)


def test_ask_by_command(index: Index, tmp_path: Path) -> None:
    run = CliRunner()
    where = ["--index", str(index.path)]
    receipt = tmp_path / "r.json"
    asked = run.invoke(command, ["ask", QUESTION, *where, "--json", "--receipt", str(receipt)])
    assert asked.exit_code == 0 and json.loads(asked.stdout)["text"].endswith("6,722.58")
    held = run.invoke(command, ["receipt", "verify", str(receipt), *where])
    assert held.exit_code == 0 and "holds" in held.stdout


def test_evidence_is_in_order(index: Index) -> None:
    pages: list[EvidencePage] = Answerer(index)._evidence(QUESTION, index.search(QUESTION, 3).hits)
    assert [page.hit.rank for page in pages] == [1, 2, 3]
