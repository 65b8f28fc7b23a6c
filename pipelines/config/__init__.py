"""Packaged defaults and one YAML a domain."""
