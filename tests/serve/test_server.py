import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from lepton_ai.errors import BundleError, ServeError
from lepton_ai.serve.server import address_of, bind, running, serve


@pytest.fixture
def taken():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_a_port_in_use_is_said_before_anything_is_loaded(taken, tmp_path):
    with pytest.raises(ServeError, match=f"cannot listen on 127.0.0.1 port {taken}.*in use"):
        serve([tmp_path / "absent"], port=taken)


def test_a_second_server_on_the_same_port_is_refused():
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ServeError, match="in use"):
            bind("127.0.0.1", port)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_open_address_is_refused_unless_asked_for(host):
    with pytest.raises(ServeError, match="--allow-public"):
        bind(host, 0)
    if host == "0.0.0.0":
        bind(host, 0, allow_public=True).close()


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_out_of_range_is_refused(port):
    with pytest.raises(ServeError, match="0 to 65535"):
        bind("127.0.0.1", port)


def test_an_unknown_host_is_refused():
    with pytest.raises(ServeError, match="no address is known"):
        bind("no-such-host.invalid", 0)


def test_localhost_is_loopback():
    with bind("localhost", 0) as listener:
        assert address_of(listener).startswith("http://")


def test_a_missing_bundle_frees_the_port(tmp_path):
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(BundleError, match="nothing is at"):
        serve([tmp_path / "absent"], port=port)
    bind("127.0.0.1", port).close()


def test_two_networks_of_one_name_are_refused(nets):
    with pytest.raises(ServeError, match="several are called"), running(nets["sqrt"], nets["sqrt"]):
        pass


def test_running_stops_and_leaves_the_network_open(nets):
    import numpy as np

    with running(nets["sqrt"]) as address:
        assert httpx.get(f"{address}/v2/health/ready").status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/v2/health/ready")
    assert nets["sqrt"].run({"x": np.ones(1, dtype=np.float32)})["y"].tolist() == [1.0]


def start(*words):
    command = [sys.executable, "-c", "from lepton_ai.cli import main; main()", *map(str, words)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_it_is_told_to_stop(bundles, number):
    process = start("serve", bundles["words"], "--port", "0")
    try:
        first, second = process.stdout.readline(), process.stdout.readline()
        address = first.split()[-1]
        assert f"curl {address}/predict/words -d" in second
        shown = second.split("try: ")[1]
        answer = subprocess.run(shown, shell=True, capture_output=True, text=True, timeout=20)
        assert '"label"' in answer.stdout
        assert httpx.get(f"{address}/v2/models/words/ready").json()["ready"] is True
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", "0.0.0.0"], "--allow-public"),
        (["--port", "99999"], "0 to 65535"),
    ],
)
def test_the_command_refuses_with_one_sentence(bundles, words, says):
    process = start("serve", bundles["words"], *words)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert says in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""


def test_the_command_refuses_a_port_in_use(bundles, taken):
    began = time.monotonic()
    process = start("serve", bundles["words"], "--port", taken)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"port {taken}" in err
    assert "Traceback" not in err
    assert time.monotonic() - began < 30
