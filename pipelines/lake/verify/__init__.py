"""Damage in the lake, named: logs, files, contracts, ledger, references. Reads by delta-rs, pyarrow and the log files; writes nothing."""
