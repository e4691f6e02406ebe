"""The one evaluator: measures, judges and reports every checkpoint through core.pipeline."""
