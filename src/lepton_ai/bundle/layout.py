"""Where things are in a bundle: POSIX paths within its folder."""

MANIFEST = "manifest.json"
ARTIFACT = "artifact/model.onnx"
GOLDEN_INPUTS = "golden/inputs.npz"
GOLDEN_OUTPUTS = "golden/outputs.npz"
CERTIFICATE = "certificate.json"
REPORT = "report.html"
PROCESSING = "processing"
