"""Where Spark, torch and MLflow meet: the steps of the loop, the lake, the registry and the command line."""
