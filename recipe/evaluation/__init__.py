class EvaluationError(Exception):
    """A sentence for the user."""
