"""What only the cloud may know: importance, plans, training."""
