"""Fashion-MNIST: 60,000 + 10,000 grey pictures of clothes, 28×28, ten classes."""

import gzip

import numpy as np

from compress_cases.downloads import FASHION, fetch_deb

SIDE = 28
CLASSES = 10
_IMAGES_START, _LABELS_START = 16, 8


def fashion(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images ``uint8`` [n, 28, 28] and labels ``int64`` [n] of ``train`` or ``t10k``."""
    folder = fetch_deb(FASHION)
    images = gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(images, np.uint8, offset=_IMAGES_START).reshape(-1, SIDE, SIDE)
    return pixels, np.frombuffer(labels, np.uint8, offset=_LABELS_START).astype(np.int64)
