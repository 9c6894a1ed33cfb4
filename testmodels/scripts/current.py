#!/usr/bin/env python3
"""Writes the zoo's models of current libraries and exporters, and their index.

Needs PyTorch 2.11, torchvision 0.26, timm 1.0.29, transformers 5.17, onnx 1.23 and
ONNX Runtime 1.30; the other scripts here run with Debian's, this one does not.
The models are what these libraries make by default, but for their sizes. Weights
are rounded to a few numbers, so that the files pack well; none is one number only.
"""

import argparse
import json
import os

import onnx
import onnxruntime
import timm
import torch
import torch.nn as nn
import transformers
from torchvision.models.vision_transformer import VisionTransformer

from exporting import probe_input

TORCH, TIMM, TRANSFORMERS, VISION = "PyTorch 2.11", "timm 1.0.29", "transformers 5.17", "torchvision 0.26"
DYNAMO, OPTIMIZER = TORCH + " dynamo", "ONNX Runtime 1.30's optimizer"
SMALL = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, image_size=32, patch_size=8, num_labels=10,
             projection_dim=16, layer_norm_eps=1e-6, attention_probs_dropout_prob=0.0)


class Tensors(nn.Module):
    """A model of transformers that returns tensors."""

    def __init__(self, model):
        super().__init__()
        self.m = model


class Pixels(Tensors):
    def forward(self, pixel_values):
        out = tuple(t for t in self.m(pixel_values=pixel_values).to_tuple() if isinstance(t, torch.Tensor))
        return out if len(out) > 1 else out[0]


class Texts(Tensors):
    def forward(self, input_ids, attention_mask):
        return self.m(input_ids=input_ids, attention_mask=attention_mask).logits


class TwoTowers(Tensors):
    def forward(self, input_ids, pixel_values, attention_mask):
        o = self.m(input_ids=input_ids, pixel_values=pixel_values, attention_mask=attention_mask)
        return o.logits_per_image, o.logits_per_text, o.text_embeds, o.image_embeds


def settle(model):
    """Rounds weights to a few steps of their deviation; none are trivial."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            spread = float(p.float().std()) if p.numel() > 1 else 0.0
            if not spread > 1e-6:
                spread = 0.05
                p.add_(torch.randn(p.shape, generator=g) * spread)
            p.copy_((p / (spread / 2)).round() * (spread / 2))
    return model.eval()


def torchvision():
    return VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=10), (probe_input(32).repeat(2, 1, 1, 1),)


def timm_vit():
    model = timm.create_model("vit_tiny_patch16_224", num_classes=10, depth=2, embed_dim=96, num_heads=3, img_size=64)
    return model, (probe_input(64).repeat(2, 1, 1, 1),)


def hf(name, attention="sdpa", **sizes):
    def make():
        kind = getattr(transformers, name)
        known = kind.config_class()
        config = kind.config_class(**{k: v for k, v in {**SMALL, **sizes}.items() if hasattr(known, k)})
        model = kind._from_config(config, attn_implementation=attention)
        return Pixels(model), (probe_input(32).repeat(2, 1, 1, 1),)
    return make


def ids():
    return torch.arange(24).reshape(2, 12) % 90 + 2


def bert():
    config = transformers.BertConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, vocab_size=100, num_labels=3)
    model = transformers.BertForSequenceClassification._from_config(config, attn_implementation="sdpa")
    return Texts(model), (ids(), torch.ones(2, 12, dtype=torch.int64))


def clip():
    text = dict(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128, vocab_size=100, max_position_embeddings=16,
                projection_dim=16, eos_token_id=99, bos_token_id=0, pad_token_id=1)
    config = transformers.CLIPConfig(text_config=text, vision_config=SMALL, projection_dim=16)
    words = ids()
    words[:, -1] = 99
    return TwoTowers(transformers.CLIPModel._from_config(config, attn_implementation="sdpa")), (words, probe_input(32).repeat(2, 1, 1, 1), torch.ones(2, 12, dtype=torch.int64))


def inputs_of(model, x):
    return list(model.forward.__code__.co_varnames[1:1 + len(x)]) if isinstance(model, Tensors) else ["input"]


def dynamo(opset=None, static=False, external=False, optimize=True):
    def export(model, x, path):
        options = {"opset_version": opset} if opset else {}
        names = inputs_of(model, x)
        if static:
            x = tuple(t[:1] for t in x)
        else:
            options["dynamic_shapes"] = tuple({0: torch.export.Dim.DYNAMIC} for _ in x)
        torch.onnx.export(model, x, path, dynamo=True, external_data=external, optimize=optimize, input_names=names, verbose=False, **options)
    return export


def script(opset):
    def export(model, x, path):
        names = inputs_of(model, x)
        torch.onnx.export(model, x, path, dynamo=False, opset_version=opset, input_names=names, dynamic_axes={n: {0: "batch"} for n in names})
    return export


def optimized(export, kind, heads, width, half=False):
    def write(model, x, path):
        from onnxruntime.transformers import optimizer
        export(model, x, path)
        fused = optimizer.optimize_model(path, model_type=kind, num_heads=heads, hidden_size=width, opt_level=0)
        if half:
            fused.convert_float_to_float16(keep_io_types=True)
        fused.save_model_to_file(path)
    return write


def session(export):
    def write(model, x, path):
        export(model, x, path + ".first")
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = path
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        onnxruntime.InferenceSession(path + ".first", options, providers=["CPUExecutionProvider"])
        os.remove(path + ".first")
    return write


MODELS = [
    ("tv_vit_dynamo", "ViT", f"{DYNAMO}: {VISION}", torchvision, dynamo()),
    ("tv_vit_dynamo_op23", "ViT", f"{DYNAMO}, opset 23: {VISION}", torchvision, dynamo(23)),
    ("tv_vit_dynamo_static_ext", "ViT", f"{DYNAMO}, batch 1, external data: {VISION}", torchvision, dynamo(static=True, external=True)),
    ("timm_vit_dynamo_noopt", "ViT", f"{DYNAMO}, not optimized: {TIMM}", timm_vit, dynamo(optimize=False)),
    ("timm_vit_dynamo_transformers-vit-0-fp16", "ViT", f"{OPTIMIZER}, float16, of {DYNAMO}: {TIMM}", timm_vit, optimized(dynamo(), "vit", 3, 96, half=True)),
    ("hf_ViTForImageClassification_dynamo", "ViT", f"{DYNAMO}: {TRANSFORMERS}", hf("ViTForImageClassification"), dynamo()),
    ("hf_ViTForImageClassification_legacy17", "ViT", f"{TORCH} TorchScript: {TRANSFORMERS}", hf("ViTForImageClassification"), script(17)),
    ("hf_ViTForImageClassification_eager_dynamo_transformers-vit", "ViT", f"{OPTIMIZER} of {DYNAMO}: {TRANSFORMERS}",
     hf("ViTForImageClassification", "eager"), optimized(dynamo(), "vit", 4, 64)),
    ("hf_CLIPVisionModelWithProjection_sdpa_dynamo_transformers-clip", "CLIP, vision tower", f"{OPTIMIZER} of {DYNAMO}: {TRANSFORMERS}",
     hf("CLIPVisionModelWithProjection"), optimized(dynamo(), "clip", 4, 64)),
    ("hf_CLIP_session-extended", "CLIP, vision tower", f"ONNX Runtime 1.30's session, extended, of {DYNAMO}: {TRANSFORMERS}",
     hf("CLIPVisionModelWithProjection"), session(dynamo())),
    ("hf_CLIPModel_dynamo", "CLIP", f"{DYNAMO}: {TRANSFORMERS}", clip, dynamo()),
    ("hf_DeiTForImageClassificationWithTeacher_dynamo", "DeiT, distilled", f"{DYNAMO}: {TRANSFORMERS}", hf("DeiTForImageClassificationWithTeacher"), dynamo()),
    ("hf_BeitForImageClassification_op23", "BEiT", f"{DYNAMO}, opset 23: {TRANSFORMERS}", hf("BeitForImageClassification"), dynamo(23)),
    ("hf_Dinov2WithRegistersForImageClassification_dynamo", "DINOv2, registers", f"{DYNAMO}: {TRANSFORMERS}", hf("Dinov2WithRegistersForImageClassification"), dynamo()),
    ("hf_SiglipVisionModel_dynamo", "SigLIP", f"{DYNAMO}: {TRANSFORMERS}", hf("SiglipVisionModel"), dynamo()),
    ("hf_DINOv3ViTModel_dynamo", "DINOv3", f"{DYNAMO}: {TRANSFORMERS}", hf("DINOv3ViTModel"), dynamo()),
    ("hf_SwinForImageClassification_legacy17", "Swin", f"{TORCH} TorchScript: {TRANSFORMERS}",
     hf("SwinForImageClassification", patch_size=2, embed_dim=32, depths=[2, 2], num_heads=[2, 4], num_attention_heads=[2, 4], window_size=4), script(17)),
    ("hf_VitDetModel_dynamo", "ViTDet", f"{DYNAMO}: {TRANSFORMERS}", hf("VitDetModel", "eager", pretrain_image_size=32, window_size=0), dynamo()),
    ("hf_bert_legacy17", "BERT", f"{TORCH} TorchScript: {TRANSFORMERS}", bert, script(17)),
]


def forget_places(path):
    """Takes out of the file where on the machine each operator's Python code lies."""
    m = onnx.load(path, load_external_data=False)

    def strip(props):
        kept = [p for p in props if not p.key.endswith("stack_trace")]
        del props[:]
        props.extend(kept)

    strip(m.metadata_props)
    for x in [m.graph, *m.graph.node, *m.graph.input, *m.graph.output, *m.graph.value_info]:
        strip(x.metadata_props)
    onnx.save(m, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "zoo", "current"))
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    rows = []
    for name, architecture, exporter, make, write in MODELS:
        torch.manual_seed(0)
        model, x = make()
        path = os.path.join(args.out, name + ".onnx")
        write(settle(model), x, path)
        forget_places(path)
        rows.append(json.dumps({"file": name + ".onnx", "exporter": exporter, "architecture": architecture}))
    with open(os.path.join(args.out, "index.json"), "w") as f:
        f.write("[\n" + ",\n".join(rows) + "\n]\n")


if __name__ == "__main__":
    main()
