"""Tables read and written, the ledger, the Spark session: the data engineer's room."""
