"""The life of an alert, from opening to closing, and the sentence that explains it."""
