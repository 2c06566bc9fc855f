"""What an engine is: recipes (*.yaml), built engines (one folder each), and their contract in code."""
