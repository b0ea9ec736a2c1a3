"""What we claim about speed, runnable by anyone: see README.md."""
