"""The long-term memory: a matrix per head and bank that decays and takes in key-value products."""
