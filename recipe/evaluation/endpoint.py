"""Samples a model behind an OpenAI-compatible server, in the form of verl's dump.

Each answer is a request of its own, and a line of generations.jsonl as soon as it is there: it costs money, so what an
interrupted run paid for is kept. The client waits as long as a Retry-After says. The key is read from OPENAI_API_KEY
and written nowhere.
"""

import asyncio
import json
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import openai
import pyarrow.parquet

from recipe.common import UserError, waiting_bar

RETRIES = 8  # of a request, after 0.5, 1, 2, .. 8 seconds where the server does not say when
TIMEOUT = openai.Timeout(3600, connect=10)  # a long answer takes many minutes, and the last token comes with the first

Request = tuple[list[dict], str]  # the messages of the prompt, and the gold


def check_url(url: str) -> None:
    """The URL goes into settings.json, so that it must hold no secret.

    Raises:
        UserError: if it is not http(s)://HOST/PATH alone.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query:
        raise UserError("--endpoint must be http(s)://HOST[:PORT]/PATH; a key belongs in OPENAI_API_KEY")


def request_of(messages: list[dict], settings: dict) -> dict:
    """The arguments of one chat completion. What is None in the settings is left to the model."""
    optional = {name: settings[name] for name in ("temperature", "top_p", "reasoning_effort")}
    extra = {"top_k": settings["top_k"]} if settings["top_k"] not in (None, -1) else {}
    if settings["chat_template_arguments"]:
        extra["chat_template_kwargs"] = settings["chat_template_arguments"]
    return {
        "model": settings["model"],
        "messages": messages,
        "max_completion_tokens": settings["max_response_tokens"],
        **{name: value for name, value in optional.items() if value is not None},
        "extra_body": extra,
    }


def row_of(answer, messages: list[dict], gold: str, uid: str) -> dict:
    """A line as verl's dump and length_reward_manager.py have it, with the tokens of the prompt.

    Raises:
        UserError: if the text has thoughts whose beginning is in the prompt: where one is cut off, the boxes of
            its thoughts would count as its answer.
    """
    choice = answer.choices[0]
    text = choice.message.content or ""
    if "</think>" in text and "<think>" not in text:
        raise UserError(
            "the server leaves the model's thoughts in its answers: start it with a reasoning parser "
            "(vllm serve --reasoning-parser deepseek_r1)"
        )
    return {
        "input": "\n".join(message["content"] for message in messages),
        "output": text,
        "gts": gold,
        "uid": uid,
        "prompt_tokens": answer.usage.prompt_tokens,
        "response_tokens": answer.usage.completion_tokens,
        "cut_off": int(choice.finish_reason == "length"),
    }


def explanation(error: openai.OpenAIError, settings: dict) -> str:
    """What the user can do about it. The server's own words on a refused key may quote the key, and stay out."""
    url, model = settings["endpoint"], settings["model"]
    match error:
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            return f"{url} refuses the key in OPENAI_API_KEY, or it is not set (HTTP {error.status_code})"
        case openai.NotFoundError():
            return f"{url} has no model {model!r}, or does not end in the path of the API, mostly /v1 (HTTP 404)"
        case openai.APITimeoutError():
            return f"{url} did not answer within {TIMEOUT.read:.0f} s"
        case openai.APIConnectionError():
            return f"no server at {url}: {error.__cause__ or error}"
        case openai.RateLimitError():
            return f"{url} refuses more requests after {RETRIES} retries: lower --concurrency, or check your quota"
        case openai.APIStatusError():
            return f"{url} answers HTTP {error.status_code}: {error.message}"
    return f"{url}: {error}"


def saved_answers(dump: Path) -> list[dict]:
    """The answers of an interrupted run; half a line at the end is cut away."""
    if not dump.exists():
        return []
    text = dump.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    dump.write_bytes(whole)
    return [json.loads(line) for line in whole.split(b"\n")[:-1]]


async def ask(requests: dict[str, Request], settings: dict, concurrency: int, save: Callable[[dict], None]) -> None:
    """Ask for one answer to each uid's request, `concurrency` at a time; `save` gets each row at once.

    Raises:
        UserError: of the first failure, after the answers under way, which are paid for.
    """
    todo = deque(requests.items())
    client = openai.AsyncOpenAI(
        base_url=settings["endpoint"],
        api_key=os.environ.get("OPENAI_API_KEY") or "EMPTY",  # a server of one's own asks for none
        max_retries=RETRIES,
        timeout=TIMEOUT,
    )

    async def worker() -> None:
        while todo:
            uid, (messages, gold) = todo.popleft()
            try:
                answer = await client.chat.completions.create(**request_of(messages, settings))
                save(row_of(answer, messages, gold, uid))
            except Exception:
                todo.clear()
                raise

    async with client:
        ends = await asyncio.gather(*(worker() for _ in range(concurrency)), return_exceptions=True)
    for failure in filter(None, ends):
        raise UserError(explanation(failure, settings)) if isinstance(failure, openai.OpenAIError) else failure


def generate(name: str, data: Path, unfinished: Path, settings: dict, concurrency: int) -> None:
    """Ask for every answer of a test set that `unfinished`/generations.jsonl does not have.

    Raises:
        UserError: if the server refuses, or is not there.
    """
    dump = unfinished / "generations.jsonl"
    rows = saved_answers(dump)
    have = {row["uid"] for row in rows}
    problems = pyarrow.parquet.read_table(data, columns=["prompt", "reward_model"]).to_pylist()
    requests = {
        f"{problem}_{sample}_0": (row["prompt"], row["reward_model"]["ground_truth"])
        for problem, row in enumerate(problems)
        for sample in range(settings["samples"])
    }

    def tokens(of: str) -> int:
        return sum(row[f"{of}_tokens"] for row in rows)

    with open(dump, "a") as lines, waiting_bar(len(requests), "answer", name) as bar:

        def save(row: dict) -> None:
            lines.write(json.dumps(row) + "\n")
            lines.flush()
            rows.append(row)
            bar.set_postfix_str(f"{tokens('prompt') + tokens('response'):,} tokens", refresh=False)
            bar.update(1)

        bar.update(len(rows))
        missing = {uid: request for uid, request in requests.items() if uid not in have}
        asyncio.run(ask(missing, settings, concurrency, save))
    answers = f"{len(rows)} answers, {tokens('prompt'):,} tokens of prompts and {tokens('response'):,} of answers"
    print(f"{name}: {answers}", flush=True)
