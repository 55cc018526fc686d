"""The protocol as a client that others wrote speaks it."""

import ml_dtypes
import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

VALUES = {
    "bool": np.array([[True, False]]),
    "uint8": np.array([[0, 255]], dtype=np.uint8),
    "uint16": np.array([[0, 65535]], dtype=np.uint16),
    "uint32": np.array([[0, 2**32 - 1]], dtype=np.uint32),
    "uint64": np.array([[1, 2**64 - 1]], dtype=np.uint64),
    "int8": np.array([[-128, 127]], dtype=np.int8),
    "int16": np.array([[-32768, 1]], dtype=np.int16),
    "int32": np.array([[-(2**31), 1]], dtype=np.int32),
    "int64": np.array([[-(2**63), 2**63 - 1], [0, 1]], dtype=np.int64),
    "float16": np.array([[0.1, -65504.0]], dtype=np.float16),
    "float32": np.array([[np.pi, np.finfo(np.float32).max]], dtype=np.float32),
    "float64": np.array([[np.pi, -1e300]], dtype=np.float64),
    "str": np.array([["", "né\n漢"]], dtype=object),
}


@pytest.fixture
def client(address):
    client = InferenceServerClient(address.removeprefix("http://"))
    yield client
    client.close()


def inputs_of(values, binary):
    entries = []
    for dtype, array in values.items():
        entry = InferInput(f"in_{dtype}", list(array.shape), np_to_triton_dtype(array.dtype))
        entries.append(entry.set_data_from_numpy(array, binary_data=binary))
    return entries


def test_health(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("sqrt")
    assert client.is_model_ready("sqrt", "1")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata()["name"] == "lepton"
    assert client.get_model_metadata("sqrt")["outputs"][0]["datatype"] == "FP32"


@pytest.mark.parametrize("sent", [True, False], ids=["raw-in", "json-in"])
@pytest.mark.parametrize("came", [True, False], ids=["raw-out", "json-out"])
def test_every_data_type_comes_back_exactly(client, sent, came):
    outputs = [InferRequestedOutput(f"out_{dtype}", binary_data=came) for dtype in VALUES]
    answer = client.infer("echo_onnxruntime", inputs_of(VALUES, sent), outputs=outputs)
    for dtype, array in VALUES.items():
        back = answer.as_numpy(f"out_{dtype}")
        if dtype == "str":
            texts = [item.decode() if isinstance(item, bytes) else item for item in back.flat]
            assert texts == array.reshape(-1).tolist()
        else:
            assert back.dtype == array.dtype
            np.testing.assert_array_equal(back, array)


def test_bfloat16_comes_back_exactly(client):
    array = np.array([[0.1, -3e38]]).astype(ml_dtypes.bfloat16)
    answer = client.infer("echo_reference", inputs_of({"bfloat16": array}, True))
    back = answer.as_numpy("out_bfloat16")
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(client, algorithm):
    entry = InferInput("x", [1], "FP32").set_data_from_numpy(np.array([4.0], dtype=np.float32))
    answer = client.infer("sqrt", [entry], request_compression_algorithm=algorithm, request_id="a")
    assert answer.as_numpy("y").tolist() == [2.0]
    assert answer.get_response()["id"] == "a"


def test_errors_reach_the_client(client):
    entry = InferInput("x", [1, 1], "FP32").set_data_from_numpy(np.zeros((1, 1), dtype=np.float32))
    with pytest.raises(InferenceServerException, match="wants 1 axes"):
        client.infer("sqrt", [entry])
