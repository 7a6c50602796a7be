"""What is found: encoders, spaces and vectors, queries."""
