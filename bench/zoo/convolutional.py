"""Image networks made of convolutions: classifiers, a segmenter."""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import nn

from zoo.export import Network


class Logits(nn.Module):
    """A Hugging Face network that takes one tensor and gives one tensor."""

    def __init__(self, network: nn.Module, output: str = "logits") -> None:
        super().__init__()
        self.network = network
        self.output = output

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.network(pixel_values=pixels)[self.output]


def image(network: nn.Module, side: int, *, torchscript: bool = False) -> Network:
    """A classifier of RGB images, any number at a time."""
    return Network(
        module=Logits(network),
        inputs={"pixels": torch.rand(2, 3, side, side)},
        outputs=("logits",),
        free={"pixels": {0: "batch"}, **({"logits": {0: "batch"}} if torchscript else {})},
        torchscript=torchscript,
    )


def resnet18(small: bool) -> Network:
    """ResNet (He et al., 2015)."""
    widths = [8, 16, 24, 32] if small else [64, 128, 256, 512]
    config = transformers.ResNetConfig(
        embedding_size=widths[0], hidden_sizes=widths, depths=[2, 2, 2, 2], layer_type="basic"
    )
    return image(transformers.ResNetForImageClassification(config), 64 if small else 224)


def mobilenet_v2(small: bool) -> Network:
    """MobileNetV2 (Sandler et al., 2018)."""
    config = transformers.MobileNetV2Config(depth_multiplier=0.25 if small else 1.0)
    return image(
        transformers.MobileNetV2ForImageClassification(config),
        64 if small else 224,
        torchscript=True,
    )


def efficientnet_b0(small: bool) -> Network:
    """EfficientNet-B0 (Tan & Le, 2019), in the configuration that Hugging Face defaults to."""
    config = transformers.EfficientNetConfig(
        width_coefficient=0.25 if small else 1.0,
        depth_coefficient=0.5 if small else 1.0,
        image_size=224,
        hidden_dim=320 if small else 1280,
    )
    return image(transformers.EfficientNetForImageClassification(config), 64 if small else 224)


def convnext(small: bool) -> Network:
    """ConvNeXt (Liu et al., 2022)."""
    config = transformers.ConvNextConfig(
        hidden_sizes=[8, 16, 24, 32] if small else [48, 96, 192, 384],
        depths=[1, 1, 2, 1] if small else [2, 2, 6, 2],
    )
    return image(transformers.ConvNextForImageClassification(config), 64 if small else 224)


class Block(nn.Sequential):
    """Two convolutions with their norms."""

    def __init__(self, taken: int, given: int) -> None:
        parts: list[nn.Module] = []
        for width in (taken, given):
            parts += [
                nn.Conv2d(width, given, 3, padding=1, bias=False),
                nn.BatchNorm2d(given),
                nn.ReLU(),
            ]
        super().__init__(*parts)


class UNet(nn.Module):
    """U-Net (Ronneberger et al., 2015) with transposed convolutions."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        widths = [width << level for level in range(depth)]
        self.down = nn.ModuleList(
            Block(taken, given) for taken, given in zip([1, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * given, given, 2, stride=2) for given in reversed(widths[:-1])
        )
        self.merge = nn.ModuleList(Block(2 * given, given) for given in reversed(widths[:-1]))
        self.last = nn.Conv2d(width, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
            kept.append(x)
        for up, merge, beside in zip(self.up, self.merge, reversed(kept[:-1]), strict=True):
            x = merge(torch.cat([beside, up(x)], dim=1))
        return self.last(x)


def unet(small: bool) -> Network:
    """A segmenter of slices of medical volumes."""
    side = 32 if small else 192
    return Network(
        module=UNet(4 if small else 16, 3 if small else 4),
        inputs={"slice": torch.rand(2, 1, side, side)},
        outputs=("regions",),
        free={"slice": {0: "batch"}},
    )


ARCHITECTURES: dict[str, Callable[[bool], Any]] = {
    "resnet18": resnet18,
    "mobilenet_v2": mobilenet_v2,
    "efficientnet_b0": efficientnet_b0,
    "convnext": convnext,
    "unet": unet,
}
