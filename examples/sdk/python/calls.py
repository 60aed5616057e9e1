"""A call, a stream, and a batch from its upload to its answers, by Python's standard library alone.

OPENAI_BASE_URL (with /v1) and OPENAI_API_KEY say where the monitor is, and whom it knows you by. OpenAI's own client for
Python takes the same two, and asks for the same; it is not needed here.
"""

import json
import os
import time
import urllib.request
import uuid

BASE = os.environ["OPENAI_BASE_URL"]
KEY = os.environ["OPENAI_API_KEY"]


def ask(method: str, path: str, body: dict | bytes | None = None, kind: str = "application/json"):
    """Sends a request, and returns the answer as it comes. An error of HTTP is one of the program."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    request = urllib.request.Request(BASE + path, data, {"Authorization": f"Bearer {KEY}", "Content-Type": kind}, method=method)
    return urllib.request.urlopen(request)


def upload(content: bytes) -> str:
    """Uploads a file for a batch, and returns its id."""
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'.encode(),
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="items.jsonl"\r\n\r\n'.encode(),
        content,
        f"\r\n--{boundary}--\r\n".encode(),
    ]
    return json.load(ask("POST", "/files", b"".join(parts), f"multipart/form-data; boundary={boundary}"))["id"]


hello = {"model": "mock", "messages": [{"role": "user", "content": "Say hello."}]}
answer = json.load(ask("POST", "/chat/completions", hello))
print("call:", str(bool(answer["choices"][0]["message"]["content"])).lower())

events = [line[6:] for line in ask("POST", "/chat/completions", hello | {"stream": True}).read().decode().splitlines() if line.startswith("data: ")]
text = "".join(json.loads(e)["choices"][0]["delta"].get("content") or "" for e in events[:-1] if json.loads(e)["choices"])
print("stream:", str(bool(text) and events[-1] == "[DONE]").lower())

lines = [
    {"custom_id": f"item-{i}", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "mock", "messages": [{"role": "user", "content": f"Describe item {i}."}]}}
    for i in range(20)
]
file = upload("\n".join(map(json.dumps, lines)).encode())
batch = json.load(ask("POST", "/batches", {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}))
while batch["status"] not in ("completed", "failed", "expired", "cancelled"):
    time.sleep(0.2)
    batch = json.load(ask("GET", f"/batches/{batch['id']}"))
output = ask("GET", f"/files/{batch['output_file_id']}/content").read().decode().splitlines()
print("batch:", batch["status"], len(output))
