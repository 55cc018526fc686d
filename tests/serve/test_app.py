import gzip
import json
import subprocess
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed

import httpx
import numpy as np
import pytest
from PIL import Image

from lepton_ai.engines.engine import Executable
from lepton_ai.serve.server import running


@pytest.fixture
def client(address):
    with httpx.Client(base_url=address) as client:
        yield client


def error_of(response, status):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    return response.json()["error"]


def square_roots(values, **more):
    tensor = {"name": "x", "datatype": "FP32", "shape": [len(values)], "data": values}
    return {"inputs": [tensor], **more}


def test_health_and_metadata(client):
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.head("/v2/health/live").status_code == 200
    assert client.get("/v2/models/sqrt/ready").json() == {"name": "sqrt", "ready": True}
    model = client.get("/v2/models/sqrt").json()
    assert model["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1]}]
    assert model["versions"] == ["1"]
    assert client.get("/v2/models/sqrt/versions/1").json() == model


def test_infer_answers_and_echoes_the_id(client):
    body = square_roots([4.0, 9.0], id="seven", parameters={"unheard": "of"})
    answer = client.post("/v2/models/sqrt/versions/1/infer", json=body).json()
    assert answer == {
        "model_name": "sqrt",
        "model_version": "1",
        "id": "seven",
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "data": [2.0, 3.0]}],
    }


def test_nan_and_infinity_are_valid_json(client):
    response = client.post("/v2/models/sqrt/infer", json=square_roots([-1.0, 4.0, "Infinity"]))
    strict = json.loads(response.content, parse_constant=lambda word: pytest.fail(word))
    assert strict["outputs"][0]["data"] == ["NaN", 2.0, "Infinity"]


def test_outputs_are_chosen_in_the_order_asked_for(client):
    everything = client.get("/v2/models/echo_onnxruntime").json()
    data = {"BYTES": ["a", "b"], "BOOL": [True, False]}
    inputs = [
        {**spec, "shape": [1, 2], "data": data.get(spec["datatype"], [0, 1])}
        for spec in everything["inputs"]
    ]
    outputs = [{"name": "out_str"}, {"name": "out_int8"}]
    body = {"inputs": inputs, "outputs": outputs}
    answer = client.post("/v2/models/echo_onnxruntime/infer", json=body).json()
    assert [output["name"] for output in answer["outputs"]] == ["out_str", "out_int8"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_compressed_bodies(client, encoding):
    body = json.dumps(square_roots([4.0])).encode()
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    headers = {"content-encoding": encoding}
    answer = client.post("/v2/models/sqrt/infer", content=packed, headers=headers)
    assert answer.json()["outputs"][0]["data"] == [2.0]
    cut = client.post("/v2/models/sqrt/infer", content=packed[:-5], headers=headers)
    assert "ends too early" in error_of(cut, 400)
    rubbish = client.post("/v2/models/sqrt/infer", content=b"rubbish", headers=headers)
    assert f"not valid {encoding}" in error_of(rubbish, 400)


def test_an_unknown_encoding_is_415(client):
    answer = client.post("/v2/models/sqrt/infer", content=b"", headers={"content-encoding": "br"})
    assert "gzip, deflate or none" in error_of(answer, 415)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "z"}, "unknown: ['z']"),
        ({"name": 7}, '"name"'),
        ({"datatype": "FP33"}, "'FP33' came"),
        ({"datatype": "INT64", "data": [4]}, "wants float32, and int64 came"),
        ({"shape": [-1]}, "wants a shape of sizes"),
        ({"shape": "1"}, "wants a shape of sizes"),
        ({"shape": [1, 1]}, "wants 1 axes"),
        ({"data": ["four"]}, 'and "four" came'),
        ({"parameters": []}, '"parameters" wants an object'),
        ({"parameters": {"binary_data_size": 4}}, "both data and a binary_data_size"),
        ({"parameters": {"shared_memory_region": "r"}}, "shared memory"),
    ],
)
def test_inputs_that_do_not_fit_are_400(client, change, says):
    body = square_roots([4.0])
    body["inputs"][0].update(change)
    assert says in error_of(client.post("/v2/models/sqrt/infer", json=body), 400)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[" * 50_000, "not valid JSON"),
        (b"[]", "wants a JSON object, and a list came"),
        (b"{}", '"inputs"'),
        (b'{"inputs": 1}', '"inputs" wants a list'),
        (b'{"inputs": [1]}', "each input"),
        (b'{"inputs": []}', "missing: ['x']"),
    ],
)
def test_bodies_that_are_no_request_are_400(client, body, says):
    assert says in error_of(client.post("/v2/models/sqrt/infer", content=body), 400)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"outputs": [{"name": "z"}]}, "gives the outputs ['y'], not 'z'"),
        ({"outputs": ["y"]}, "not None"),
        ({"outputs": {}}, '"outputs" wants a list'),
        ({"parameters": {"binary_data_output": "yes"}}, "true or false"),
        ({"outputs": [{"name": "y", "parameters": {"classification": 2}}]}, "classification"),
    ],
)
def test_outputs_that_cannot_be_given_are_400(client, more, says):
    response = client.post("/v2/models/sqrt/infer", json=square_roots([4.0], **more))
    assert says in error_of(response, 400)


def binary(size, raw, header=None):
    tensor = {"name": "x", "datatype": "FP32", "shape": [1]}
    text = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": size}}]}).encode()
    length = str(len(text)) if header is None else header
    return {"content": text + raw, "headers": {"Inference-Header-Content-Length": length}}


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (binary(8, b"\0\0\0\0"), "claims a binary_data_size of 8, and 4 bytes are left"),
        (binary(-4, b"\0\0\0\0"), "claims a binary_data_size of -4"),
        (binary(True, b"\0"), "claims a binary_data_size of True"),
        (binary("4", b"\0\0\0\0"), "claims a binary_data_size of '4'"),
        (binary(3, b"\0\0\0"), "wants 4 bytes, and 3 came"),
        (binary(4, b"\0\0\0\0\0"), "1 bytes behind the JSON part belong to no input"),
        (binary(4, b"\0\0\0\0", "100000"), "wants a number up to"),
        (binary(4, b"\0\0\0\0", "-1"), "wants a number up to"),
        (binary(4, b"\0\0\0\0", "ten"), "wants a number up to"),
        (binary(4, b"\0\0\0\0", "5"), "not valid JSON"),
    ],
)
def test_broken_binary_sizes_are_400(client, request_, says):
    assert says in error_of(client.post("/v2/models/sqrt/infer", **request_), 400)


def test_unknown_places_are_404(client):
    assert "'nobody'" in error_of(client.get("/v2/models/nobody"), 404)
    assert "version '1', not '2'" in error_of(client.get("/v2/models/sqrt/versions/2"), 404)
    for path in ("/", "/v3", "/v2/models", "/v2/models/sqrt/fly", "/predict", "/v2/health/x"):
        assert "there is nothing at" in error_of(client.get(path), 404)


def test_wrong_methods_are_405_and_say_which_are_right(client):
    response = client.get("/v2/models/sqrt/infer")
    assert "wants POST, and GET came" in error_of(response, 405)
    assert response.headers["allow"] == "POST"
    assert error_of(client.post("/v2"), 405)


@pytest.mark.parametrize("size", [200_001, 600_000, 3_000_000])
def test_an_oversized_body_is_413(client, size):
    response = client.post("/v2/models/sqrt/infer", content=b" " * size)
    assert "at most 200000 bytes" in error_of(response, 413)


def test_a_decompression_bomb_is_413(client):
    bomb = gzip.compress(b" " * 50_000_000)
    headers = {"content-encoding": "gzip"}
    response = client.post("/v2/models/sqrt/infer", content=bomb, headers=headers)
    assert "at most 200000 bytes" in error_of(response, 413)


def test_predict_takes_a_text_or_several(client):
    one = client.post("/predict/words", json={"text": "good"}).json()
    assert one["model"] == "words"
    assert one["label"] == "good"
    assert sum(one["scores"].values()) == pytest.approx(1)
    several = client.post("/predict/words", json={"texts": ["bad", "fine day"]}).json()
    assert [answer["label"] for answer in several["answers"]] == ["bad", "fine"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"text": ""}, "empty text"),
        ({"text": 7}, "should be a text"),
        ({"texts": ["good", None]}, "sample 1"),
        ({"texts": "good"}, '"texts" wants a list'),
        ({"texts": ["good"] * 1025}, "at most 1024"),
        ({}, '{"text": …}'),
        ({"text": "a", "texts": []}, '{"text": …}'),
        ({"inputs": 7}, "/predict wants"),
    ],
)
def test_predict_refuses_what_is_no_text(client, body, says):
    assert says in error_of(client.post("/predict/words", json=body), 400)


def test_predict_takes_tensors_by_name(client):
    answer = client.post("/predict/sqrt", json={"inputs": {"x": [4, -1]}}).json()
    assert answer == {"model": "sqrt", "outputs": {"y": [2.0, "NaN"]}}
    wrong = client.post("/predict/sqrt", json={"inputs": {"z": [4]}})
    assert "unknown: ['z']" in error_of(wrong, 400)
    ragged = client.post("/predict/sqrt", json={"inputs": {"x": [[4], [1, 2]]}})
    assert "axis 1" in error_of(ragged, 400)
    text = client.post("/predict/sqrt", json={"text": "/etc/hostname"})
    assert "takes no text" in error_of(text, 400)


def test_predict_refuses_other_content(client):
    headers = {"content-type": "image/png"}
    response = client.post("/predict/words", content=b"\x89PNG", headers=headers)
    assert "wants application/json, and 'image/png' came" in error_of(response, 415)


def test_predict_takes_the_bytes_of_an_image(client, tmp_path):
    picture = tmp_path / "green.png"
    Image.new("RGB", (20, 10), (10, 200, 30)).save(picture)
    headers = {"content-type": "image/png"}
    answer = client.post("/predict/colours", content=picture.read_bytes(), headers=headers)
    assert answer.json()["label"] == "green"
    broken = client.post("/predict/colours", content=b"no image", headers=headers)
    assert "sample 0" in error_of(broken, 400)


def test_predict_never_opens_a_file_of_the_server(client, tmp_path):
    picture = tmp_path / "mine.png"
    Image.new("RGB", (8, 8)).save(picture)
    for body in ({"text": str(picture)}, {"texts": [str(picture)]}):
        assert "takes no text" in error_of(client.post("/predict/colours", json=body), 400)
    headers = {"content-type": "application/octet-stream"}
    path = client.post("/predict/colours", content=str(picture).encode(), headers=headers)
    assert error_of(path, 400)


def curl(*words):
    answer = subprocess.run(["curl", "-sS", *words], capture_output=True, text=True, timeout=20)
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_curl(address, tmp_path):
    answer = curl(f"{address}/predict/words", "-d", '{"text": "good"}')
    assert json.loads(answer)["label"] == "good"
    big = tmp_path / "big"
    big.write_bytes(b" " * 2_000_000)  # curl asks first whether it may send this much
    refused = curl(f"{address}/v2/models/sqrt/infer", "--data-binary", f"@{big}")
    assert "at most 200000 bytes" in json.loads(refused)["error"]


def test_many_clients_at_once_get_their_own_answers(address):
    def ask(number):
        with httpx.Client(base_url=address, timeout=20) as client:
            body = square_roots([float(number**2)])
            return client.post("/v2/models/sqrt/infer", json=body).json()["outputs"][0]["data"]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(64)))
    assert answers == [[float(number)] for number in range(64)]


class Gate(Executable):
    """A network that answers when it is let."""

    def __init__(self, executable, opened, fails=None):
        self.executable, self.opened, self.fails = executable, opened, fails

    def run(self, inputs):
        self.opened.wait(20)
        if self.fails is not None:
            raise self.fails
        return self.executable.run(inputs)


@pytest.fixture
def gated(nets):
    """The square root's network behind a gate; the gate is opened in the end."""
    from lepton_ai.bundle.net import Net

    opened = threading.Event()
    net = nets["sqrt"]
    gate = Gate(net._executable, opened)
    yield Net(net.manifest, gate), gate, opened
    opened.set()


def test_a_full_queue_is_503_and_health_still_answers(gated):
    net, _, opened = gated
    body = square_roots([4.0])
    with running(net, queue_limit=2) as address, ThreadPoolExecutor(3) as pool:
        url = f"{address}/v2/models/sqrt/infer"
        asked = [pool.submit(httpx.post, url, json=body, timeout=20) for _ in range(3)]
        full = next(as_completed(asked)).result()  # the other two wait at the gate
        assert "busy with 2 requests" in error_of(full, 503)
        assert full.headers["retry-after"] == "1"
        assert httpx.get(f"{address}/v2/health/live").status_code == 200
        opened.set()
        assert sorted(one.result().status_code for one in asked) == [200, 200, 503]
        assert httpx.post(url, json=body).status_code == 200


def test_failures_of_the_engine_are_500_with_a_sentence_and_no_traceback(gated):
    from lepton_ai.errors import EngineError

    net, gate, opened = gated
    opened.set()
    with running(net) as address:
        url = f"{address}/v2/models/sqrt/infer"
        gate.fails = EngineError("the engine failed: no memory")
        answer = httpx.post(url, json=square_roots([4.0]))
        assert error_of(answer, 500) == "the engine failed: no memory"
        gate.fails = RuntimeError("a secret path")
        answer = httpx.post(url, json=square_roots([4.0]))
        assert "secret" not in error_of(answer, 500)
        gate.fails = None
        assert httpx.post(url, json=square_roots([4.0])).status_code == 200


def test_raw_output_of_nan_is_exact(client):
    body = square_roots([-1.0], parameters={"binary_data_output": True})
    response = client.post("/v2/models/sqrt/infer", json=body)
    length = int(response.headers["inference-header-content-length"])
    assert np.isnan(np.frombuffer(response.content[length:], dtype="<f4")).all()
