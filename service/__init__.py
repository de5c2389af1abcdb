"""What only the server needs."""

VERSION = "0.1.0"
