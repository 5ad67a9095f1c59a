"""recipe/evaluation/endpoint.py: errors, retries and resuming against a tiny local HTTP server.

What this file does not exercise: a model that reasons, TLS, and a real server, which test_evaluate.py asks. The tiny
server speaks as much of the chat completions as the client reads.
"""

import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import datasets
import pytest

from recipe.common import UserError
from recipe.evaluation import endpoint, evaluate

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "recipe" / "tiny_task" / "base"
KEY = "sk-secret-of-the-test"
COMMON = {
    "model": "tiny", "samples": 2, "temperature": 1.0, "top_p": 0.9, "top_k": -1, "max_prompt_tokens": 16,
    "max_response_tokens": 20, "chat_template_arguments": {},
}  # fmt: skip


@pytest.fixture
def server():
    """Answers each request with the first of `replies`, (status, headers, text), and with a right answer after them."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.asked.append(body | {"key": self.headers["Authorization"], "at": time.monotonic()})
            status, headers, text = self.server.replies.pop(0) if self.server.replies else (200, {}, "\\boxed{5}")
            reply = {
                "id": "x", "object": "chat.completion", "created": 0, "model": "tiny",
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
                "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
            }  # fmt: skip
            sent = json.dumps(reply if status == 200 else {"error": {"message": text}}).encode()
            self.send_response(status)
            for name, value in {
                "Content-Length": str(len(sent)),
                "Content-Type": "application/json",
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked, running.replies = [], []
        running.url = f"http://127.0.0.1:{running.server_port}/v1"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def run(server, monkeypatch, tmp_path):
    """evaluate() on two sums against the tiny server, one request at a time; keywords change the served model."""
    rows = [{"prompt": [{"role": "user", "content": f"{a}+3="}], "reward_model": {"ground_truth": "5"}} for a in (2, 9)]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "sums.parquet")
    monkeypatch.setattr(evaluate, "compose", lambda overrides: dict(COMMON))
    monkeypatch.setattr(endpoint, "RETRIES", 0)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    def evaluated(**served):
        served = {"endpoint": server.url, "model": "tiny", "reasoning_effort": None} | served
        evaluate.evaluate(tmp_path / "out", [tmp_path / "sums.parquet"], [], served, 1)
        return json.loads((tmp_path / "out" / "results.json").read_text())["sums"]

    return evaluated


def test_each_problem_is_asked_as_often_as_there_are_samples_and_the_key_is_in_no_file(run, server, tmp_path, capfd):
    result = run(reasoning_effort="low")
    # 9+3 is not 5, but the grader reads the ground truth alone: four right answers of 3 tokens.
    assert (result["problems"], result["samples"], result["average"], result["tokens"]) == (2, 2, 1.0, 3.0)
    assert sorted(body["messages"][0]["content"] for body in server.asked) == ["2+3=", "2+3=", "9+3=", "9+3="]
    sent = {name: value for name, value in server.asked[0].items() if name not in ("messages", "at")}
    assert sent == {
        "model": "tiny", "temperature": 1.0, "top_p": 0.9, "max_completion_tokens": 20, "reasoning_effort": "low",
        "key": f"Bearer {KEY}",
    }  # fmt: skip
    said = "".join(capfd.readouterr())
    assert "sums: 4 answers, 28 tokens of prompts and 12 of answers" in said and "40 tokens" in said
    files = [file.read_text() for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert len(files) == 4 and not any(KEY in text for text in [said, *files])


def test_what_a_model_does_not_take_is_not_sent():
    settings = COMMON | {"temperature": None, "top_p": None, "top_k": 20, "reasoning_effort": None}
    request = endpoint.request_of([], settings | {"chat_template_arguments": {"enable_thinking": True}})
    assert request == {
        "model": "tiny", "messages": [], "max_completion_tokens": 20,
        "extra_body": {"top_k": 20, "chat_template_kwargs": {"enable_thinking": True}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "said", "sentence"),
    [
        (401, f"Incorrect API key provided: {KEY}", "refuses the key in OPENAI_API_KEY, or it is not set .HTTP 401.$"),
        (403, f"{KEY} may not", "refuses the key in OPENAI_API_KEY, or it is not set .HTTP 403.$"),
        (404, "no such model", "has no model 'tiny', or does not end in the path of the API, mostly /v1 .HTTP 404.$"),
        (400, "temperature is not supported", "answers HTTP 400: .*temperature is not supported"),
        (429, "slower", "refuses more requests after 0 retries: lower --concurrency, or check your quota$"),
        (200, "5</think> \\boxed{5}", "leaves the model's thoughts in its answers: start it with a reasoning parser"),
    ],
)
def test_a_refusal_is_one_sentence_and_what_was_paid_for_is_kept(status, said, sentence, run, server, tmp_path):
    server.replies = [(200, {}, "\\boxed{6}"), (status, {}, said)]
    with pytest.raises(UserError, match=sentence) as raised:
        run()
    assert KEY not in str(raised.value) and len(server.asked) == 2
    dump = tmp_path / "out" / ".sums-asked" / "generations.jsonl"
    dump.write_text(dump.read_text() + '{"uid": "half a li')  # killed while it wrote
    with pytest.raises(UserError, match="was generated with reasoning_effort=None, not low"):
        run(reasoning_effort="low")
    assert run()["average"] == 3 / 4 and len(server.asked) == 2 + 3  # the wrong answer from before and three more


def test_a_server_that_is_not_there_is_a_sentence(run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(UserError, match=f"no server at {url}: "):
            run(endpoint=url)


@pytest.mark.parametrize("url", ["localhost:8000", "http://me:word@host/v1", "https://host/v1?key=word", "http:///v1"])
def test_a_url_with_a_key_or_without_a_host_is_refused(url, run, server):
    with pytest.raises(UserError, match="--endpoint must be http"):
        run(endpoint=url)
    assert not server.asked


def test_a_retry_waits_as_long_as_the_server_says(run, server, monkeypatch):
    monkeypatch.setattr(endpoint, "RETRIES", 1)
    server.replies = [(429, {"Retry-After": "1.2"}, "slower")]
    assert run()["average"] == 1
    # By itself the client would wait 0.5 s at most.
    assert len(server.asked) == 5 and server.asked[1]["at"] - server.asked[0]["at"] > 1.1


def test_the_command_ends_with_the_sentence_and_a_code(tmp_path):
    command = [sys.executable, "-m", "recipe.evaluation.evaluate", "-o", str(tmp_path), "--model", "m"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "--endpoint and --model go together" in done.stderr


def test_an_output_folder_that_cannot_be_made_is_a_sentence(run, tmp_path, monkeypatch, server):
    (tmp_path / "file").touch()
    command = f"evaluate -o {tmp_path}/file/out --data {tmp_path}/sums.parquet --endpoint {server.url} --model tiny"
    monkeypatch.setattr(sys, "argv", command.split())
    monkeypatch.setattr(evaluate, "interrupt_on_signals", lambda: None)
    with pytest.raises(SystemExit, match=f"Not a directory: '{tmp_path}/file/out") as ended:
        evaluate.main()
    assert "\n" not in ended.value.code
