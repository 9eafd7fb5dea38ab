"""A cross-encoder in all-MiniLM-L6-v2's shape: its weights under a random (seeded) classifier, and its
export to ONNX. Its scores mean nothing; its speed does."""

import os
import shutil

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")


def make(source, cache):
    directory = os.path.join(cache, "cross-encoder")
    if os.path.exists(os.path.join(directory, "model.safetensors")):
        return directory
    import torch
    from transformers import BertForSequenceClassification
    torch.manual_seed(7)
    model = BertForSequenceClassification.from_pretrained(source, num_labels=1).eval()
    model.save_pretrained(directory)
    for name in TOKENIZER_FILES:
        if os.path.exists(os.path.join(source, name)):
            shutil.copy(os.path.join(source, name), directory)
    return directory


def export_onnx(directory, cache):
    """The plain export, and the same with ONNX Runtime's transformer fusions."""
    plain = os.path.join(cache, "cross-encoder.onnx")
    fused = os.path.join(cache, "cross-encoder-fused.onnx")
    if os.path.exists(fused):
        return plain, fused
    import torch
    from onnxruntime.transformers import optimizer
    from transformers import BertForSequenceClassification
    model = BertForSequenceClassification.from_pretrained(directory, attn_implementation="eager").eval()
    ids = torch.ones(2, 16, dtype=torch.long)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    axes = {name: {0: "batch", 1: "length"} for name in names}
    torch.onnx.export(model, (ids, torch.ones_like(ids), torch.zeros_like(ids)), plain, input_names=names,
                      output_names=["logits"], dynamic_axes={**axes, "logits": {0: "batch"}},
                      opset_version=17, dynamo=False)
    better = optimizer.optimize_model(plain, model_type="bert", num_heads=model.config.num_attention_heads,
                                      hidden_size=model.config.hidden_size)
    better.save_model_to_file(fused)
    return plain, fused
