"""Post-training quantization: calibration, ranges, weights."""
