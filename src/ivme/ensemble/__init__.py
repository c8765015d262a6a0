"""The ensemble: five text classifiers of different kinds that vote on a text."""
