"""One module a stage; dvc.yaml is the table of contents."""
