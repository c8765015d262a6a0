"""The claims ledger: what the source documents claim, and what was measured."""
