"""What the HTML page about a build says and shows."""
