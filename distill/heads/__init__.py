"""Heads fitted on embeddings: scikit-learn's classifiers, their ONNX graphs, and the calibration of their classes."""
