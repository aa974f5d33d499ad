"""What assets are handed: lake, engine, warehouse, notifier. Plain objects; nothing here starts at import."""
