"""Which step of the hour writes a table: the ledger's rows of that step name the table's versions."""

MADE_BY = {
    "impressions": "ingest", "feedback": "ingest", "items": "ingest", "user_hour": "build_increments", "item_hour": "build_increments",
    "training_examples": "build_examples", "item_embeddings": "embed_items", "query_embeddings": "embed_items",
    "user_features": "build_features", "item_features": "build_features", "slate_decisions": "score_users", "slate_log": "score_users",
    "scores": "score_users", "releases": "promote_models",
}  # fmt: skip
