"""Public cohorts: where they are, what they allow, what is wrong with them; fetched and checked."""
