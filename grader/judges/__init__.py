"""The judges of diagnoses: an offline rubric, and an endpoint that can only confirm what the rubric found."""
