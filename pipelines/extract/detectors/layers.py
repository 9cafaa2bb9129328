"""The layers that a YOLO's ``model.yaml`` or an ultralytics checkpoint may name.

ultralytics builds any layer that it knows. Some of them download weights (``TorchVision``), load
another file, or come in such numbers that a short YAML never ends. So the layers are a list, and
their numbers have limits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_WORDS = """
A2C2f AAttn ABlock AConv ADown AGLU AIFI Attention BNContrastiveHead Bottleneck BottleneckCSP C1 C2
C2PSA C2f Classify C2fAttn C2fCIB C2fPSA C3 C3Ghost C3TR C3f C3k C3k2 C3x CBAM CBFuse CBLinear CIB
ChannelAttention Concat ContrastiveHead Conv Conv2 ConvTranspose DFL DWConv DWConvTranspose2d
DeformableTransformerDecoder DeformableTransformerDecoderLayer Detect ELAN1 Focus GhostBottleneck
GhostConv HGBlock HGStem ImagePoolingAttn Index LRPCHead LayerNorm2d LightConv MLP MLPBlock
MSDeformAttn MaxSigmoidAttnBlock OBB OBB26 PSA PSABlock Pose Pose26 Proto Proto26 RTDETRDecoder
RealNVP RepBottleneck RepC3 RepCSP RepConv RepNCSPELAN4 RepVGGDW ResNetBlock ResNetLayer Residual
SAVPE SCDown SPP SPPELAN SPPF Segment Segment26 SpatialAttention SwiGLUFFN TransformerBlock
TransformerEncoderLayer TransformerLayer WorldDetect YOLOEDetect YOLOESegment YOLOESegment26
v10Detect
"""
LAYERS = frozenset(_WORDS.split())
"""Layers of ``ultralytics.nn.modules`` that compute from their own weights only."""

_TORCH = """
AdaptiveAvgPool2d AvgPool2d BatchNorm1d BatchNorm2d Conv1d Conv2d ConvTranspose2d Dropout Embedding
Flatten GELU GroupNorm Hardswish Identity LayerNorm LeakyReLU Linear MaxPool2d Mish ModuleList
MultiheadAttention NonDynamicallyQuantizableLinear ParameterList ReLU ReLU6 Sequential SiLU Sigmoid
Softmax Tanh Upsample ZeroPad2d
"""
TORCH_LAYERS = frozenset(_TORCH.split())
"""Layers of ``torch.nn`` that these networks are made of."""

MAX_ROWS, MAX_REPEATS, MAX_NUMBER = 500, 100, 65_536
"""Most rows of a YAML, repeats of a row, and largest number among its arguments."""

_ACTIVATION = re.compile(r"(torch\.)?nn\.(\w+)\([-0-9., ]*\)")


def check_architecture(architecture: Any) -> dict[str, Any]:
    """Check the content of a ``model.yaml``, and return it.

    Raises:
        ValueError: If it is not of ultralytics' form, names a layer that is not listed, or exceeds
            a limit.
    """
    if not isinstance(architecture, dict):
        raise ValueError("it is not a mapping")
    for name in ("backbone", "head"):
        rows = architecture.get(name)
        if not isinstance(rows, list) or len(rows) > MAX_ROWS:
            raise ValueError(f"{name} is not a list of at most {MAX_ROWS} rows")
        for row in rows:
            _check_row(row)
    activation = architecture.get("activation")
    if activation is not None:
        match = _ACTIVATION.fullmatch(str(activation))
        if match is None or match[2] not in TORCH_LAYERS:
            raise ValueError(f"the activation {str(activation)[:60]!r} is not allowed")
    for name, value in architecture.items():
        if name not in ("backbone", "head", "activation"):
            _check_values(list(value.values()) if isinstance(value, Mapping) else [value])
    return architecture


def _check_row(row: Any) -> None:
    if not isinstance(row, list) or len(row) != 4 or not isinstance(row[3], list):
        raise ValueError("a row is not [from, repeats, layer, arguments]")
    sources, repeats, layer, arguments = row
    known = layer in LAYERS if isinstance(layer, str) else False
    if isinstance(layer, str) and layer.startswith("nn."):
        known = layer[3:] in TORCH_LAYERS
    if not known:
        raise ValueError(f"the layer {str(layer)[:60]!r} is not allowed")
    if type(repeats) is not int or not 1 <= repeats <= MAX_REPEATS:
        raise ValueError(f"{layer} is repeated {str(repeats)[:20]} times")
    _check_values([sources, *arguments])


def _check_values(values: Sequence[Any], depth: int = 0) -> None:
    if len(values) > MAX_ROWS or depth > 2:
        raise ValueError("a list is too long or nested too deeply")
    for value in values:
        if isinstance(value, list):
            _check_values(value, depth + 1)
        elif isinstance(value, int | float):
            if not abs(value) <= MAX_NUMBER:
                raise ValueError(f"the number {str(value)[:20]} is too large")
        elif value is not None and not (isinstance(value, str) and len(value) <= 1000):
            raise ValueError(f"a value is a {type(value).__name__}")
