"""What each ONNX operator means, written once over an array namespace."""
