"""Systolith: fixed-point CNN accelerators for FPGAs, from a trained ONNX model to bit-exact Verilog."""
