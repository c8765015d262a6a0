"""One decoding step: a token of each text through all layers, from state to state."""
