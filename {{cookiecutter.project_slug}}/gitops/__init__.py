"""What speaks to people and to GitHub; it runs none of the repository's models or data code."""
