#!/usr/bin/env python3
"""Writes the zoo: tiny random models of many architectures, and their index.

Each is written in the operators of its authors or of a well-known library, and
exported by PyTorch. In every part that may be pruned, half of the width is
redundant (see plant.py); "planted" in the index counts those parts.
"""

import argparse
import json
import os
import warnings

import onnx
import torch

import plant
import zoo_later as later
import zoo_more as more
import zoo_others as others
import zoo_plain as plain
import zoo_stages as stages
from exporting import probe_input

# file: architecture, exporter, model, opset, dynamic batch, outputs
CASES = {
    "vit": ("ViT", "timm, unfused", plain.vit, 14, True, 1),
    "vit_fused": ("ViT", "timm, fused", plain.vit_fused, 17, True, 1),
    "vit_hf": ("ViT", "Hugging Face", plain.vit_hf, 11, True, 1),
    "vit_chunk": ("ViT", "chunk", plain.vit_chunk, 13, True, 1),
    "vit_unbind": ("ViT", "unbind", plain.vit_unbind, 9, False, 1),
    "vit_einsum": ("ViT", "einsum", plain.vit_einsum, 12, True, 1),
    "vit_two_outputs": ("ViT, logits and tokens", "timm, unfused", others.TwoOutputs, 17, True, 2),
    "deit_distilled": ("DeiT, distilled", "timm, unfused", plain.Distilled, 13, True, 1),
    "beit": ("BEiT", "timm, unfused", plain.Beit, 14, True, 1),
    "cait": ("CaiT", "timm", plain.Cait, 12, True, 1),
    "dinov2": ("DINOv2, registers, SwiGLU", "facebookresearch", plain.Dinov2, 17, True, 2),
    "dinov3": ("DINOv3", "Hugging Face", plain.Dinov3, 17, True, 2),
    "eva02": ("EVA-02", "timm, unfused", plain.eva02, 14, True, 1),
    "eva02_subnorm": ("EVA-02, norm in the MLP", "timm, unfused", plain.eva02_subnorm, 16, False, 1),
    "vit_geglu": ("ViT, GEGLU", "timm, unfused", plain.geglu, 15, True, 1),
    "siglip": ("SigLIP", "Hugging Face", lambda: plain.Siglip(plain.ProbePool), 14, True, 1),
    "siglip_timm": ("SigLIP", "timm, unfused", lambda: plain.Siglip(plain.LatentPool, 10), 17, False, 1),
    "siglip_timm_dynamic": ("SigLIP", "timm, unfused", lambda: plain.Siglip(plain.LatentPool, 10), 13, True, 1),
    "clip": ("CLIP, vision tower", "OpenAI", plain.Clip, 14, True, 1),
    "vit22b": ("ViT-22B, parallel, q/k norms", "timm, unfused", plain.vit22b, 17, True, 1),
    "vit22b_one_map": ("ViT-22B, one map for all", "timm, unfused", plain.vit22b_one_map, 14, True, 1),
    "parallel_things": ("ViT, two by two", "timm, unfused", plain.parallel_things, 13, True, 1),
    "post_norm": ("ViT, post-norm", "timm, unfused", plain.post_norm, 11, True, 1),
    "res_post_norm": ("ViT, res-post-norm", "timm, unfused", plain.res_post_norm, 14, True, 1),
    "swin_v1": ("Swin", "Microsoft", stages.swin_v1, 12, True, 1),
    "swin_v2": ("Swin v2", "timm", stages.swin_v2, 17, True, 1),
    "pvt_v1": ("PVT", "authors", stages.pvt_v1, 11, True, 1),
    "pvt_v2": ("PVT v2", "timm, unfused", stages.pvt_v2, 14, True, 1),
    "segformer": ("SegFormer (MiT)", "Hugging Face", stages.Segformer, 13, True, 1),
    "levit": ("LeViT", "timm", stages.levit, 14, True, 1),
    "levit_conv": ("LeViT, convolutions", "timm", stages.levit_conv, 17, True, 1),
    "mobilevit_v1": ("MobileViT", "timm", stages.mobilevit_v1, 13, True, 1),
    "mobilevit_v2": ("MobileViT v2", "timm", stages.mobilevit_v2, 14, True, 1),
    "t2t": ("T2T-ViT", "authors, unfold", stages.T2t, 14, False, 1),
    "mixer": ("MLP-Mixer", "timm", others.Mixer, 13, True, 1),
    "xcit": ("XCiT", "timm", others.Xcit, 14, True, 1),
    "convnext": ("ConvNeXt", "timm", others.ConvNext, 14, True, 1),
    "bert": ("BERT", "Hugging Face", others.Bert, 14, True, 1),
    "sam": ("SAM encoder, ViTDet", "facebookresearch", more.sam, 14, True, 1),
    "mvit_v2": ("MViT v2", "facebookresearch", more.mvit_v2, 14, True, 1),
    "convit": ("ConViT", "timm", more.convit, 14, True, 1),
    "maxvit": ("MaxViT", "timm, unfused", more.maxvit, 13, True, 1),
    "cswin": ("CSWin", "authors", more.cswin, 14, True, 1),
    "twins": ("Twins", "timm, unfused", more.twins, 14, True, 1),
    "davit": ("DaViT, channel groups", "timm", more.davit, 14, True, 1),
    "hiera": ("Hiera", "facebookresearch, unfused", more.hiera, 14, True, 1),
    "grouped_queries": ("ViT, grouped queries", "Hugging Face", more.grouped_queries, 14, True, 1),
    "detr": ("DETR", "Hugging Face", more.Detr, 14, True, 2),
    "crossvit": ("CrossViT", "timm", more.CrossVit, 14, True, 1),
    "volo": ("VOLO", "timm, unfused", later.Volo, 18, True, 1),
    "tnt": ("TNT", "timm", later.Tnt, 14, True, 1),
    "coatnet": ("CoAtNet", "timm, unfused", later.CoAtNet, 14, True, 1),
    "gcvit": ("GCViT", "timm", later.gcvit, 16, True, 1),
    "fastvit": ("FastViT", "Apple", later.FastVit, 17, True, 1),
    "perceiver": ("Perceiver", "Hugging Face", later.Perceiver, 14, True, 1),
    "detector_topk": ("ViTDet with TopK", "PyTorch", others.detector_topk, 14, True, 3),
    "detector_nms": ("ViTDet with NMS", "torchvision", others.detector_nms, 14, False, 3),
}


def export(model, path, opset, dynamic, outputs):
    batch = 2 if dynamic else 1
    inputs = list(getattr(model, "names", ("pixel_values",)))
    x = model.example(batch) if hasattr(model, "example") else (probe_input(model.image).repeat(batch, 1, 1, 1),)
    outs = ["output"] + [f"output_{i}" for i in range(1, outputs)]
    axes = {n: {0: "batch"} for n in inputs + outs} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, x, path, opset_version=min(opset, 17), input_names=inputs, output_names=outs, dynamic_axes=axes)
    if opset > 17:  # newer than this exporter writes: of the operators in use, none means something else there
        m = onnx.load(path)
        for n in m.graph.node:
            n.ClearField("domain")
        del m.opset_import[:]
        m.opset_import.append(onnx.helper.make_opsetid("", opset))
        onnx.save(m, path)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default=os.path.join(os.path.dirname(__file__), "..", "zoo", "architectures"), metavar="DIR")
    p.add_argument("only", nargs="*", metavar="CASE", help="export these only, and leave the index alone")
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    entries = []
    for name, (architecture, exporter, make, opset, dynamic, outputs) in CASES.items():
        if a.only and name not in a.only:
            continue
        torch.manual_seed(0)
        model, planted = plant.build(make())
        path = os.path.join(a.out, name + ".onnx")
        export(model, path, opset, dynamic, outputs)
        size = os.path.getsize(path)
        print(f"{name:20} {size:7} {planted}")
        entries.append({"file": name + ".onnx", "exporter": "PyTorch 1.13: " + exporter, "architecture": architecture, "planted": planted})
    if not a.only:
        with open(os.path.join(a.out, "index.json"), "w") as f:
            f.write("[\n" + ",\n".join(json.dumps(e) for e in entries) + "\n]\n")


if __name__ == "__main__":
    main()
