"""SGD and AdamW, and the learning-rate schedules."""
