"""`manage.py session`: what the dashboard shows and does, for who has a terminal and nothing else."""
