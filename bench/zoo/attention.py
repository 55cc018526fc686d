"""Attention: image transformers, a detector, sentence encoders, a translator."""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch import nn

from zoo.convolutional import image
from zoo.export import Network


def vit(small: bool) -> Network:
    """ViT-S/16 (Dosovitskiy et al., 2020)."""
    config = transformers.ViTConfig(
        hidden_size=48 if small else 384,
        num_hidden_layers=2 if small else 12,
        num_attention_heads=3 if small else 6,
        intermediate_size=96 if small else 1536,
        image_size=64 if small else 224,
    )
    return image(transformers.ViTForImageClassification(config), 64 if small else 224)


def swin(small: bool) -> Network:
    """Swin-T (Liu et al., 2021)."""
    config = transformers.SwinConfig(
        embed_dim=12 if small else 96,
        depths=[1, 2] if small else [2, 2, 6, 2],
        num_heads=[1, 2] if small else [3, 6, 12, 24],
        image_size=56 if small else 224,
        window_size=7,
    )
    return image(transformers.SwinForImageClassification(config), 56 if small else 224)


class Boxes(nn.Module):
    """DETR's classes and boxes for an image that fills its frame."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        answer = self.network(pixel_values=pixels)
        return answer.logits, answer.pred_boxes


def detr(small: bool) -> Network:
    """DETR (Carion et al., 2020) on a ResNet-18."""
    backbone = transformers.ResNetConfig(
        embedding_size=8 if small else 64,
        hidden_sizes=[8, 16, 16, 16] if small else [64, 128, 256, 512],
        depths=[1, 1, 1, 1] if small else [2, 2, 2, 2],
        layer_type="basic",
        out_features=["stage4"],
    )
    layers = 1 if small else 4
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        d_model=32 if small else 256,
        num_queries=10 if small else 100,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_ffn_dim=64 if small else 1024,
        decoder_ffn_dim=64 if small else 1024,
        encoder_attention_heads=4 if small else 8,
        decoder_attention_heads=4 if small else 8,
        num_labels=91,
    )
    side = 64 if small else 384
    return Network(
        module=Boxes(transformers.DetrForObjectDetection(config)),
        inputs={"pixels": torch.rand(1, 3, side, side)},
        outputs=("classes", "boxes"),
    )


class Encoded(nn.Module):
    """A sentence encoder on token ids and their mask."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        answer = self.network(input_ids=input_ids, attention_mask=attention_mask)
        return answer.last_hidden_state if "last_hidden_state" in answer else answer.logits


def sentence(network: nn.Module, vocabulary: int, *, torchscript: bool = False) -> Network:
    """An encoder of sentences, any number of any length."""
    tokens = torch.randint(1, vocabulary, (2, 24))
    mask = torch.ones(2, 24, dtype=torch.int64)
    mask[1, 17:] = 0
    axes = {0: "batch", 1: "tokens"}
    free = {"input_ids": axes, "attention_mask": axes}
    return Network(
        module=Encoded(network),
        inputs={"input_ids": tokens, "attention_mask": mask},
        outputs=("answer",),
        free={**free, "answer": {0: "batch"}} if torchscript else free,
        torchscript=torchscript,
    )


def bert(small: bool) -> Network:
    """BERT (Devlin et al., 2018) in the size of MiniLM-L6."""
    config = transformers.BertConfig(
        vocab_size=500 if small else 30522,
        hidden_size=48 if small else 384,
        num_hidden_layers=2 if small else 6,
        num_attention_heads=4 if small else 12,
        intermediate_size=96 if small else 1536,
    )
    return sentence(transformers.BertModel(config, add_pooling_layer=False), config.vocab_size)


def distilbert(small: bool) -> Network:
    """DistilBERT (Sanh et al., 2019) with a classifier on top."""
    config = transformers.DistilBertConfig(
        vocab_size=500 if small else 30522,
        dim=48 if small else 512,
        n_layers=2 if small else 6,
        n_heads=4 if small else 8,
        hidden_dim=96 if small else 2048,
        attn_implementation="eager",
    )
    network = transformers.DistilBertForSequenceClassification(config)
    return sentence(network, config.vocab_size, torchscript=True)


class Translated(nn.Module):
    """An encoder and one step of its decoder: the words so far to the next word."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return self.network(input_ids=source, decoder_input_ids=target, use_cache=False).logits


def marian(small: bool) -> Network:
    """MarianMT (Junczys-Dowmunt et al., 2018), an encoder-decoder for translation."""
    config = transformers.MarianConfig(
        vocab_size=500 if small else 16000,
        d_model=48 if small else 256,
        encoder_layers=1 if small else 4,
        decoder_layers=1 if small else 4,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=96 if small else 1024,
        decoder_ffn_dim=96 if small else 1024,
        pad_token_id=0,
        decoder_start_token_id=0,
        eos_token_id=1,
        forced_eos_token_id=1,
        max_position_embeddings=128,
    )
    return Network(
        module=Translated(transformers.MarianMTModel(config)),
        inputs={
            "source": torch.randint(2, config.vocab_size, (2, 20)),
            "target": torch.randint(2, config.vocab_size, (2, 9)),
        },
        outputs=("logits",),
        free={"source": {0: "batch", 1: "source_words"}, "target": {0: "batch", 1: "words"}},
    )


ARCHITECTURES: dict[str, Callable[[bool], Any]] = {
    "vit": vit,
    "swin": swin,
    "detr": detr,
    "bert": bert,
    "distilbert": distilbert,
    "marian": marian,
}
