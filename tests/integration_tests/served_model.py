"""A chat model behind OpenAI's API on 127.0.0.1, for code that names its model with a string.

It asks for the call that the user wants, says "Done." when it has read the outcome, and fills a
schema from the transcript that it is shown.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

ELIDED = "..."
"""Where a user's words are left out; the model reads `ServedModel.meant` in their place."""

_NUMBER = re.compile(r"\+[\d ]{7,20}\d")


class ServedModel(ThreadingHTTPServer):
    """The server, and what its answers depend on."""

    daemon_threads = True
    number = "+14155550135"
    """Whom the model calls if the user names no number."""
    meant = ""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def base_url(self) -> str:
        """What `OPENAI_BASE_URL` has to say."""
        return f"http://127.0.0.1:{self.server_port}/v1"

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """The assistant's message to a request for a completion."""
        last = asked["messages"][-1]
        if "response_format" in asked:
            return {"content": json.dumps(_filled(str(last["content"])))}
        if last["role"] == "tool":
            return {"content": "Done."}
        words = str(last["content"]).replace(ELIDED, self.meant)
        number = _NUMBER.search(words)
        call = {"objective": words, "target_number": number[0] if number else self.number}
        function = {"name": asked["tools"][0]["function"]["name"], "arguments": json.dumps(call)}
        tool_call = {"id": f"call_{uuid.uuid4().hex}", "type": "function", "function": function}
        return {"content": None, "tool_calls": [tool_call]}


class _Handler(BaseHTTPRequestHandler):
    server: ServedModel

    def do_POST(self) -> None:
        """Answer a request for a completion."""
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        message = {"role": "assistant", "refusal": None} | self.server.answer(asked)
        completion = {
            "id": "completion",
            "object": "chat.completion",
            "created": 0,
            "model": asked["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }
        body = json.dumps(completion).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _filled(record: str) -> dict[str, Any]:
    """What a model finds in the transcript of a reservation."""
    table = re.search(r"a table for (\d+)", record, re.IGNORECASE)
    code = re.search(r"confirmation number is ([A-Z]-\d+)", record)
    return {
        "values": {
            "party_size": int(table[1]) if table else None,
            "confirmation_number": code[1] if code else None,
        },
        "evidence": {"party_size": table[0]} if table else {},
        "objective_achieved": "yes",
    }


@contextmanager
def served_model() -> Iterator[ServedModel]:
    """The model, while it is served."""
    with ServedModel() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
