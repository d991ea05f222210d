"""What is pure is tested alone."""
