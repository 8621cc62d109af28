"""Everything that turns a trained model into a .rnnrt file. Importing it imports neither onnx nor torch."""
