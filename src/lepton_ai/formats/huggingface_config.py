"""What a Hugging Face configuration says of a classifier's answers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def softmax_or(config: "PretrainedConfig") -> str:
    """How the scores of a classifier with ``config`` are read (``transformers``' own rule)."""
    if config.problem_type == "regression":
        return "raw"
    if config.problem_type == "multi_label_classification" or config.num_labels == 1:
        return "sigmoid"
    return "softmax"


def label_names(config: "PretrainedConfig") -> tuple[str, ...]:
    """The labels in the order of the classes."""
    labels: Any = config.id2label
    return tuple(str(labels[index]) for index in range(int(config.num_labels or 0)))
