"""How good views are: metrics, baselines, named protocols."""
