"""Session classes: one behaviour over every store."""
