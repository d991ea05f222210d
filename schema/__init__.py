"""What a message, a state and a row are: pure, without IO, on the stdlib and pydantic."""
