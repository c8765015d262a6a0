"""Experiments behind the claims ledger: each measures what one or several claims say."""
