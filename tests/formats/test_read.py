"""Finding a format costs nothing heavy, and says what to install where something is missing."""

import subprocess
import sys

from lepton_ai.formats.format import formats


def python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )


def test_formats_are_called_as_they_are_registered():
    assert [kind.name for _, kind in formats.items()] == list(formats.names())


def test_looking_for_a_format_loads_no_torch(tmp_path):
    code = (
        "import sys; from lepton_ai.formats.read import read; from lepton_ai.errors import *\n"
        "try: read(sys.argv[1] + '/absent.onnx', None)\n"
        "except ModelError: pass\n"
        "print(sorted({'torch', 'transformers', 'onnxruntime', 'openvino'} & set(sys.modules)))"
    )
    assert python(code, str(tmp_path)).stdout.strip() == "[]"


def test_a_missing_package_is_told_with_its_extra(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"architectures": ["BertForSequenceClassification"], "model_type": "bert"}'
    )
    (tmp_path / "model.safetensors").write_bytes(b"")
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "from lepton_ai.formats.read import read; from lepton_ai.errors import *\n"
        "try: read(sys.argv[1], None)\n"
        "except MissingExtraError as failure: print(failure)"
    )
    assert "pip install 'lepton-ai[train]'" in python(code, str(tmp_path)).stdout


def test_the_processings_need_the_base_install_only():
    code = (
        "import sys, lepton_ai.model.text, lepton_ai.model.image\n"
        "heavy = {'torch', 'transformers', 'onnx', 'onnxruntime', 'openvino', 'scipy', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert python(code).stdout.strip() == "[]"
