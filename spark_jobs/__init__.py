"""DataFrame -> DataFrame transforms, table contracts and spark-submit entry points. Knows no Airflow and no MLflow."""
