"""One module a step of the loop; each takes settings and hours, and ends with its ledger row."""
