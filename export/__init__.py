"""Module to ONNX: graphs, quantisation, parity and serving folders."""
