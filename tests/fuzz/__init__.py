"""Structure-aware fuzzing of everything that reads an ONNX model; see ``__main__``."""
