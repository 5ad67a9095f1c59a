"""vLLM's own OpenAI-compatible server on the CPU."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


@contextlib.contextmanager
def served(model: Path, name: str, log: Path):
    """The URL of its API, once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]  # `vllm serve` asks for a package named vllm
    options = f"--host 127.0.0.1 --port {port} --served-model-name {name} --dtype float32 --enforce-eager"
    environment = {
        "VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    with open(log, "wb") as output:
        process = subprocess.Popen(
            [*server, "--model", model, *options.split(), "--max-model-len", "64"],
            cwd=log.parent, env=os.environ | environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        while not answers(port):
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its engine is a process of its own
        process.wait()


def answers(port: int) -> bool:
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).status == 200
    except OSError:
        return False
