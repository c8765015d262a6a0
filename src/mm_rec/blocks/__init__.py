"""The parts that an MM-Rec model is stacked from."""
