"""Float ONNX models in: one file for each family of operators."""
