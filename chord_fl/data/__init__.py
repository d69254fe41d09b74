"""Who did what, when: data sets as time-ordered item sequences, one per user."""
