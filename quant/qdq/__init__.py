"""Quantized ONNX models (QDQ form) in and out."""
