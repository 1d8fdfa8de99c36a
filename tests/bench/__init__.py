"""What the template has to reach, timed beside the alternative: one module a subject, each with `rows()`."""
