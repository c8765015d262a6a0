"""What trains members: scikit-learn in this process, or an H2O cluster. Loaded only to train."""
