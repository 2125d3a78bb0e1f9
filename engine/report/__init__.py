"""``report.html``: trainings and evaluations as one page that needs no other file, no server and no network."""
